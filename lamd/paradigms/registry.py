"""The paradigms by name."""

from lamd.paradigms.base import Paradigm
from lamd.paradigms.latent_motion import LatentMotion
from lamd.paradigms.latent_video import LatentVideo
from lamd.paradigms.pixel import Pixel

PARADIGMS: dict[str, type[Paradigm]] = {
    kind.name: kind for kind in (LatentMotion, LatentVideo, Pixel)
}
