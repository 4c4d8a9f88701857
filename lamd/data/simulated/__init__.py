"""Stand-ins simulated with MuJoCo, written in the real data sets' own layouts."""

from lamd.data.simulated.write import simulate_bair

__all__ = ["simulate_bair"]
