"""Simulated stand-ins in the real data sets' own layouts: MuJoCo scenes ray-cast, others drawn."""

from lamd.data.simulated.cater.write import simulate_cater
from lamd.data.simulated.gestures.write import simulate_mug, simulate_natops
from lamd.data.simulated.sky.write import simulate_landscape
from lamd.data.simulated.write import simulate_bair

__all__ = [
    "simulate_bair",
    "simulate_cater",
    "simulate_landscape",
    "simulate_mug",
    "simulate_natops",
]
