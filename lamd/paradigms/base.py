"""A paradigm as training, sampling and timing see it: its space, condition and networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, cast

from torch import Tensor, nn

from lamd.config import Baseline, SamplerConfig, Target, baseline_sampler
from lamd.data.vocabulary import Vocabulary
from lamd.diffusion import Denoiser, Schedule, schedule_of
from lamd.models.latent import Posterior


@dataclass(frozen=True)
class Network:
    """A network that a training stage produces."""

    build: Callable[[Target, Vocabulary | None], nn.Module]  # untrained, for a prompt vocabulary
    config: Callable[[Target], dict[str, Any]]  # the part of a target that determines it


@dataclass(frozen=True)
class Given:
    """First frames, encoded once per clip."""

    condition: Tensor  # what the denoiser is conditioned on, (B, ...)
    content: tuple[Any, ...] = ()  # further arguments of the decoder


class Paradigm(Protocol):
    """Diffusion in one space, given the first frame; networks frozen and in eval mode to sample."""

    name: ClassVar[str]  # key in `PARADIGMS`
    denoiser_stage: ClassVar[str]  # trains `network`
    autoencoder_stage: ClassVar[str | None] = None  # trains `autoencoder`
    options: ClassVar[str]  # config key of the denoiser's training
    train_key: ClassVar[str] = "train"  # its name in a checkpoint
    networks: ClassVar[dict[str, Network]]  # by stage
    bound: ClassVar[float | None] = None  # of |z|, kept at each step of sampling
    min_snr: float | None = None  # gamma of the weight of a step in training
    autoencoder: Any  # None in pixel space
    network: Any  # the denoiser; None where nothing is sampled
    earlier: "Paradigm | None" = None  # with the denoiser's earlier weights, for autoguidance
    schedule: Schedule
    latent_shape: tuple[int, ...]  # of one sample, without the batch

    def __init__(self, autoencoder: Any, network: Any, schedule: Schedule) -> None:
        self.autoencoder, self.network, self.schedule = autoencoder, network, schedule
        if autoencoder is not None:
            self.latent_shape = autoencoder.latent_shape

    @classmethod
    def of(cls, target: Target, network: Any, autoencoder: Any = None) -> Self:
        """Return the paradigm of a target; a baseline has LaMD's schedule, its own prediction."""
        baseline = target.denoiser(cast(Baseline, cls.denoiser_stage))
        return cls(autoencoder, network, schedule_of(target.dmg, baseline.prediction))

    @classmethod
    def sampler(cls, target: Target) -> SamplerConfig:
        """Return the sampler of a target's row: of a baseline, LaMD's with its own steps."""
        return baseline_sampler(target, cast(Baseline, cls.denoiser_stage))

    def encode(self, x0: Tensor) -> Given:
        """Encode first frames x0 (B, 3, H, W) in [-1, 1]."""
        ...

    def denoiser(
        self, given: Given, prompts: Sequence[str] | None, scale: float | None
    ) -> Denoiser:
        """Return the network's prediction, eps or v, as a function of (z_t, t) for given frames.

        `prompts` are B captions or classes for a model with prompts, else None; LamdError on one
        outside its vocabulary. `scale` is of classifier-free guidance; None for none.
        """
        return lambda z_t, t: self.network(z_t, t, given.condition)

    def decode(self, z: Tensor, given: Given) -> Tensor:
        """Map latents (B, *latent_shape) at the decoder's scale to clips, not clamped."""
        return self.autoencoder.decode(z, *given.content)

    def posterior(self, x: Tensor, copies: int) -> Posterior | None:
        """Return q(z | x) of held-out clips x, `copies` of each; None where clips are diffused."""
        return None

    def to_diffusion(self, z: Tensor) -> Tensor:
        """Map a posterior value to what is diffused, at unit variance."""
        return self.autoencoder.to_diffusion(self.autoencoder.normalise(z))

    def from_diffusion(self, z: Tensor) -> Tensor:
        """Map what is diffused to the decoder's scale."""
        return self.autoencoder.from_diffusion(z)
