"""Cost model: FLOPs, parameters and activations of each network in closed form, from its widths.

A second account of the networks, kept apart from their code: a test holds it against what PyTorch
counts, to the last FLOP. The functions take the constructors' keyword arguments, a batch size and
a size, and no network is built.
"""

from lamd.cost.autoencoders import (
    image_encoder,
    latent_video_decoder,
    latent_video_encoder,
    motion_encoder,
    video_decoder,
)
from lamd.cost.budgets import Budget, row_budget, row_parts
from lamd.cost.denoisers import dmg_condition, dmg_step, unet3d_step
from lamd.cost.layers import Cost, total
from lamd.cost.networks import captioner, discriminator, i3d, lpips

__all__ = [
    "Budget",
    "Cost",
    "captioner",
    "discriminator",
    "dmg_condition",
    "dmg_step",
    "i3d",
    "image_encoder",
    "latent_video_decoder",
    "latent_video_encoder",
    "lpips",
    "motion_encoder",
    "row_budget",
    "row_parts",
    "total",
    "unet3d_step",
    "video_decoder",
]
