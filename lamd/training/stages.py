"""What one step of each stage does; the loop around it is `engine`.

A stage reads batches, draws its random numbers from generators named by the step, and returns
named loss terms. Everything random is drawn on the CPU for the whole global batch and sliced, so
it depends neither on the device nor on the number of processes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.config import Target, TrainConfig
from lamd.data.packed import PackedVideos
from lamd.diffusion import make_schedule
from lamd.errors import LamdError
from lamd.losses import (
    adaptive_weight,
    diffusion_loss,
    discriminator_loss,
    generator_adversarial,
    reconstruction_terms,
)
from lamd.models.discriminator import build_discriminator
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import MCDVAE, Posterior, VAEOutput, build_vae
from lamd.rng import derive_seed, torch_generator
from lamd.training.batches import read_windows, training_windows, validation_windows
from lamd.training.latents import Latents
from lamd.video import to_model

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step, for rows `first` .. `first + count` of the global batch."""

    seed: int
    stage: str
    step: int
    batch_size: int
    first: int
    count: int

    def normal(self, what: str, shape: Sequence[int]) -> Tensor:
        """Return standard normal (count, *shape)."""
        generator = torch_generator(self.seed, self.stage, self.step, what)
        return self._mine(torch.randn(self.batch_size, *shape, generator=generator))

    def integers(self, what: str, high: int) -> Tensor:
        """Return int64 (count,) in 0..high-1."""
        generator = torch_generator(self.seed, self.stage, self.step, what)
        return self._mine(torch.randint(high, (self.batch_size,), generator=generator))

    def generator(self, what: str) -> torch.Generator:
        """Return a generator for these rows."""
        return torch_generator(self.seed, self.stage, self.step, what, self.first)

    def _mine(self, values: Tensor) -> Tensor:
        return values[self.first : self.first + self.count]


@dataclass
class StepTerms:
    """One forward pass.

    Attributes:
        losses: named, weighted terms; their sum is minimised.
        notes: named values that are only logged.
        made: what the stage's `adversary_loss` needs.
    """

    losses: dict[str, Tensor]
    notes: dict[str, Tensor] = field(default_factory=dict)
    made: tuple[Tensor, ...] = ()


class Stage(Protocol):
    """What the engine needs of a stage."""

    name: str
    train: TrainConfig
    config: dict[str, Any]  # what a checkpoint must agree with
    model: nn.Module
    adversary: nn.Module | None
    num_windows: int
    best_of: str  # validation value that picks the best checkpoint; lower is better

    def to(self, device: torch.device) -> None:
        """Move the frozen parts; the engine places `model` and `adversary`."""

    def read(self, rows: np.ndarray) -> Batch:
        """Return the windows `rows` on the CPU; called from another thread."""

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Run the model on a batch."""

    def adversary_active(self, step: int) -> bool:
        """Tell whether the discriminator takes part in `step`."""

    def adversary_loss(self, adversary: nn.Module, made: tuple[Tensor, ...]) -> Tensor:
        """Return the discriminator's loss."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Measure the held-out clips with a model in eval mode."""

    def finish(self, model: nn.Module) -> None:
        """Put into the final model what is measured after training."""


class VAEStage:
    """Stage I: L1 + LPIPS + beta KL + lambda L_GAN on clips (paper)."""

    name = "vae"
    best_of = "l1_lpips"

    def __init__(self, target: Target, videos: PackedVideos):
        self.train, self.loss, self.videos = target.train_vae, target.loss, videos
        self.config = target.model_dump(mode="json", include={"data", "vae", "loss", "train_vae"})
        self.gan = self.loss.gan
        with _seeded(self.train.seed, "init", self.name):
            self.model = build_vae(target.vae, target.data)
            self.adversary = build_discriminator(self.gan) if self.gan else None
        self.num_frames = target.data.num_frames
        self.windows = training_windows(videos, self.train, target.data)
        self.num_windows = len(self.windows)
        self.lpips_net = None
        if self.loss.lpips_weight:
            from lamd.metrics.frames import MIN_LPIPS_SIZE, load_lpips

            least = MIN_LPIPS_SIZE[self.loss.lpips_backbone]
            if target.data.size < least:
                raise LamdError(
                    f"data.size: LPIPS needs {least}x{least} pixels, got {target.data.size}; "
                    "raise it or set loss.lpips_weight to 0"
                )
            self.lpips_net = load_lpips(self.loss.lpips_backbone)

    def to(self, device: torch.device) -> None:
        """Move the LPIPS network."""
        if self.lpips_net is not None:
            self.lpips_net.to(device)

    def read(self, rows: np.ndarray) -> Batch:
        """Return (video,), uint8 (B, L, H, W, 3)."""
        return (read_windows(self.videos, self.windows[rows], self.num_frames),)

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Return l1, lpips, kl and, from gan.start_step on, the weighted gan term."""
        x = to_model(batch[0])
        eps = draws.normal("posterior", self.model.latent_shape).to(x.device)
        output = _in_float(model(x, eps))
        losses = reconstruction_terms(
            x, output, self.loss, self.lpips_net, draws.generator("lpips")
        )
        terms = StepTerms(losses, made=(x, output.x_hat.detach()))
        if self.adversary_active(draws.step):
            self._add_adversarial(terms, output.x_hat)
        return terms

    def _add_adversarial(self, terms: StepTerms, x_hat: Tensor) -> None:
        self.adversary.requires_grad_(False)  # its own step is `adversary_loss`
        gan = generator_adversarial(self.adversary(x_hat).float(), self.gan.loss)
        self.adversary.requires_grad_(True)
        weight = self.gan.weight
        if self.gan.adaptive:
            picture = [terms.losses[name] for name in ("l1", "lpips") if name in terms.losses]
            weight = weight * adaptive_weight(sum(picture), gan, self.model.last_layer)
            terms.notes["gan_weight"] = weight
        terms.losses["gan"] = weight * gan

    def adversary_active(self, step: int) -> bool:
        """Tell whether `step` is at or past gan.start_step."""
        return self.gan is not None and step > self.gan.start_step

    def adversary_loss(self, adversary: nn.Module, made: tuple[Tensor, ...]) -> Tensor:
        """Return the discriminator's loss on real clips and detached reconstructions."""
        x, x_hat = made
        logits = adversary(torch.cat([x, x_hat])).float()
        return discriminator_loss(*logits.chunk(2), self.gan.loss)

    @torch.no_grad()
    def validate(self, model: MCDVAE) -> dict[str, float]:
        """Return psnr (dB), l1, lpips and their sum for the decoded posterior mean."""
        device = next(model.parameters()).device
        psnr, l1, lpips = [], [], []
        for window in validation_windows(self.videos, self.train):
            x = to_model(read_windows(self.videos, window[None], self.num_frames).to(device))
            x_hat = model(x, x.new_zeros(1, *model.latent_shape)).x_hat.float().clamp(-1, 1)
            psnr.append(10 * torch.log10(4 / F.mse_loss(x_hat, x)).item())
            l1.append(F.l1_loss(x_hat, x).item())
            if self.lpips_net is not None:
                lpips.append(self.lpips_net(x_hat[0], x[0]).mean().item())
        values = {"psnr": float(np.mean(psnr)), "l1": float(np.mean(l1))}
        if lpips:
            values["lpips"] = float(np.mean(lpips))
        return values | {"l1_lpips": values["l1"] + values.get("lpips", 0.0)}

    @torch.no_grad()
    def finish(self, model: MCDVAE) -> None:
        """Measure the latent statistics over the training windows."""
        from lamd.training.latents import latent_statistics

        model.set_latent_statistics(
            *latent_statistics(model, self.videos, self.windows, seed=self.train.seed)
        )


class DMGStage:
    """Stage II: noise prediction on cached posteriors of a frozen MCD-VAE (paper)."""

    name = "dmg"
    best_of = "eps_mse"
    adversary = None
    _REPEATS = 4  # draws of (t, eps) a held-out clip

    def __init__(self, target: Target, videos: PackedVideos, vae: MCDVAE, latents: Latents):
        self.train, self.videos, self.vae, self.latents = target.train_dmg, videos, vae, latents
        keys = {"data", "vae", "dmg", "train_dmg"}
        self.config = target.model_dump(mode="json", include=keys)
        with _seeded(self.train.seed, "init", self.name):
            self.model = build_dmg(target)
        dmg = target.dmg
        self.schedule = make_schedule(
            dmg.schedule, dmg.num_train_steps, dmg.beta_start, dmg.beta_end
        )
        self.use_sample = dmg.latent == "sample"
        self.num_frames = target.data.num_frames
        wanted = training_windows(videos, self.train, target.data)
        if not np.array_equal(latents.windows, wanted):
            raise LamdError(
                f"{latents.folder}: holds other windows than train_dmg.window_stride and "
                "num_validation_clips ask for; encode the latents into another folder"
            )
        self.num_windows = len(latents)

    def to(self, device: torch.device) -> None:
        """Move the frozen MCD-VAE and the schedule."""
        self.vae.to(device)
        self.schedule = replace(self.schedule, alpha_bar=self.schedule.alpha_bar.to(device))

    def read(self, rows: np.ndarray) -> Batch:
        """Return the posteriors (B, 2, d, h, w) and the first frames (B, 1, H, W, 3)."""
        first = read_windows(self.videos, self.latents.windows[rows], 1)
        return torch.from_numpy(self.latents.posterior[rows]), first

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Return the diffusion loss of one step t a row."""
        stored, first = batch
        posterior = Posterior(*stored.unbind(1))
        return StepTerms({"eps_mse": self._loss(model, posterior, to_model(first)[:, 0], draws)})

    def _loss(self, model: nn.Module, posterior: Posterior, x0: Tensor, draws: Draws) -> Tensor:
        device, shape = x0.device, self.vae.latent_shape
        with torch.no_grad():
            z = posterior.mean
            if self.use_sample:
                z = posterior.sample(draws.normal("posterior", shape).to(device))
            z_m = self.vae.to_diffusion(self.vae.normalise(z))
            f_x0 = self.vae.encode_image(x0)[0].float()
        t = draws.integers("t", len(self.schedule)).to(device)
        eps = draws.normal("eps", shape).to(device)
        return diffusion_loss(model, self.schedule, z_m, t, eps, f_x0)

    def adversary_active(self, step: int) -> bool:
        """Return False: there is no adversary."""
        return False

    def adversary_loss(self, adversary: nn.Module, made: tuple[Tensor, ...]) -> Tensor:
        """Never reached, since `adversary_active` is False."""
        raise AssertionError("stage II has no adversary")

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return eps_mse at t and noise that are the same at each validation."""
        device = next(model.parameters()).device
        losses = []
        for number, window in enumerate(validation_windows(self.videos, self.train)):
            x = to_model(read_windows(self.videos, window[None], self.num_frames).to(device))
            posterior = self.vae.encode_motion(x)
            n = self._REPEATS
            repeated = Posterior(
                posterior.mean.repeat(n, 1, 1, 1), posterior.logvar.repeat(n, 1, 1, 1)
            )
            draws = Draws(self.train.seed, "dmg validation", number, n, 0, n)
            losses.append(self._loss(model, repeated, x[:, 0].repeat(n, 1, 1, 1), draws).item())
        return {"eps_mse": float(np.mean(losses))}

    def finish(self, model: nn.Module) -> None:
        """Nothing is measured after stage II."""


@contextmanager
def _seeded(*parts: int | str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(*parts))
        yield


def _in_float(output: VAEOutput) -> VAEOutput:
    return replace(output, x_hat=output.x_hat.float())
