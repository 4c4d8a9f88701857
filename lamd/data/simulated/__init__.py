"""Simulated stand-ins, written in the real data sets' own layouts: BAIR by MuJoCo, others drawn."""

from lamd.data.simulated.gestures.write import simulate_mug, simulate_natops
from lamd.data.simulated.sky.write import simulate_landscape
from lamd.data.simulated.write import simulate_bair

__all__ = ["simulate_bair", "simulate_landscape", "simulate_mug", "simulate_natops"]
