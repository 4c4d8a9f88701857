"""Simulated stand-ins, written in the real data sets' own layouts: BAIR by MuJoCo, skies drawn."""

from lamd.data.simulated.sky.write import simulate_landscape
from lamd.data.simulated.write import simulate_bair

__all__ = ["simulate_bair", "simulate_landscape"]
