"""Simulated stand-ins in the real data sets' own layouts: MuJoCo scenes ray-cast, others drawn."""

from lamd.standins.blocks.write import simulate_cater
from lamd.standins.people.write import simulate_mug, simulate_natops
from lamd.standins.robot.write import simulate_bair
from lamd.standins.sky.write import simulate_landscape

__all__ = [
    "simulate_bair",
    "simulate_cater",
    "simulate_landscape",
    "simulate_mug",
    "simulate_natops",
]
