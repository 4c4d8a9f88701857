"""Simulated stand-ins in the real data sets' own layouts: MuJoCo scenes ray-cast, others drawn."""
