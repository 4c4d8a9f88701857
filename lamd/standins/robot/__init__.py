"""Simulated BAIR: a MuJoCo arm that pushes objects."""
