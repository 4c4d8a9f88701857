"""Frame metrics: PSNR, SSIM, LPIPS, diversity by LPIPS, and smoothness.

All take uint8 (N, L, H, W, 3), else they raise ValueError, and return values as float64 (N,). PSNR,
SSIM and LPIPS compare each generated clip with its real one, of the same shape, and return the mean
over its frames.
"""

import functools
import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lamd import weights
from lamd.base.errors import LamdError
from lamd.base.progress import track
from lamd.io import video
from lamd.metrics.extract import full_precision
from lamd.metrics.registry import METRICS
from lamd.metrics.values import DEFAULTS, Inputs, check_clips

if TYPE_CHECKING:
    import lpips

MAX_PSNR = 100.0  # dB, for identical frames
_LPIPS_PIXELS = 32 * 256**2  # in a batch; VGG needs about 1 kB for each
SSIM_SIGMA = 1.5  # Wang et al. 2004; with scikit-image's truncation a window of 11 x 11
_LPIPS = {backbone: METRICS[f"lpips-{backbone}"] for backbone in ("alex", "vgg")}
MIN_LPIPS_SIZE = {backbone: metric.min_size for backbone, metric in _LPIPS.items()}
BACKBONES = {backbone: metric.weights[0] for backbone, metric in _LPIPS.items()}
# The linear heads are part of the `lpips` package (version 0.1 of the metric).
_HEADS_SHA256 = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}


def _mean_over_frames(
    real: np.ndarray,
    fake: np.ndarray,
    inputs: Inputs,
    metric: str,
    compare: Callable[[np.ndarray, np.ndarray], np.ndarray | list[float]],
) -> np.ndarray:
    """Return `compare` of each pair of clips (L, H, W, 3), (L,) values, as means (N,)."""
    check_clips(real)
    check_clips(fake)
    if real.shape != fake.shape:
        raise ValueError(f"real {real.shape} and fake {fake.shape} differ")
    (height, width), least = real.shape[2:4], METRICS[metric].min_size
    if min(height, width) < least:
        raise ValueError(
            f"{METRICS[metric].label} needs frames of at least {least} x {least} pixels, "
            f"got {height} x {width}"
        )
    values = np.empty(real.shape[:2])
    pairs = track(zip(real, fake, strict=True), inputs.bar(metric), len(real))
    for i, pair in enumerate(pairs):
        values[i] = compare(*pair)
    return values.mean(axis=1)


def psnr(real: np.ndarray, fake: np.ndarray, inputs: Inputs = DEFAULTS) -> np.ndarray:
    """Return PSNR per clip in dB, data range 255, each frame capped at `MAX_PSNR`."""

    def frame_psnr(a: np.ndarray, b: np.ndarray) -> float:
        mse = ((a.astype(np.float64) - b) ** 2).mean()
        with np.errstate(divide="ignore"):
            return min(10 * np.log10(255.0**2 / mse), MAX_PSNR)

    return _mean_over_frames(real, fake, inputs, "psnr", lambda a, b: list(map(frame_psnr, a, b)))


def ssim(real: np.ndarray, fake: np.ndarray, inputs: Inputs = DEFAULTS) -> np.ndarray:
    """Return SSIM per clip in [-1, 1]: Gaussian window (sigma 1.5, 11 x 11), mean of RGB."""
    from skimage.metrics import structural_similarity

    frame_ssim = functools.partial(
        structural_similarity,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
    return _mean_over_frames(real, fake, inputs, "ssim", lambda a, b: list(map(frame_ssim, a, b)))


def meta_lpips(backbone: str) -> "lpips.LPIPS":
    """Return LPIPS on the meta device, frozen."""
    import lpips

    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchvision")
        net = lpips.LPIPS(net=backbone, pretrained=False, pnet_rand=True, verbose=False)
    net.scaling_layer.to("meta")
    return net.requires_grad_(False)


def load_lpips(backbone: str = "alex", device: torch.device | str = "cpu") -> "lpips.LPIPS":
    """Return LPIPS with the pinned backbone, frozen, in evaluation mode; it draws no random number.

    It maps two float32 (N, 3, H, W) in [-1, 1] to (N, 1, 1, 1), with gradients to both. `backbone`
    is "alex" or "vgg". Errors as `weights.load`.
    """
    import lpips

    tensors = weights.load(BACKBONES[backbone])
    model = meta_lpips(backbone)  # where nothing is initialised: no random number
    model.scaling_layer = lpips.ScalingLayer()
    state = _load_heads(Path(lpips.__file__).parent / f"weights/v0.1/{backbone}.pth", backbone)
    convs = [name for name, part in model.net.named_modules() if isinstance(part, torch.nn.Conv2d)]
    trunk = "AlexNet_0" if backbone == "alex" else "VGG16_0"
    for i, name in enumerate(convs):
        kernel = tensors[f"{trunk}/Conv_{i}/kernel"].transpose(3, 2, 0, 1)
        state[f"net.{name}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
        state[f"net.{name}.bias"] = torch.from_numpy(tensors[f"{trunk}/Conv_{i}/bias"].copy())
    model.load_state_dict(state, strict=False, assign=True)
    return model.eval().requires_grad_(False).to(device)


def _load_heads(path: Path, backbone: str) -> dict[str, torch.Tensor]:
    if hashlib.sha256(path.read_bytes()).hexdigest() != _HEADS_SHA256[backbone]:
        raise LamdError(f"{path}: not the LPIPS heads of version 0.1; reinstall `lpips==0.1.4`")
    heads = torch.load(path, map_location="cpu", weights_only=True)
    # The module holds each head twice: as `lin0` and inside the list `lins`.
    return heads | {f"lins.{name[3:]}": head for name, head in heads.items()}


@torch.inference_mode()
def lpips_distance(
    real: np.ndarray, fake: np.ndarray, inputs: Inputs = DEFAULTS, *,
    backbone: str = "alex", network: torch.nn.Module | None = None,
) -> np.ndarray:  # fmt: skip
    """Return LPIPS per clip at the frames' own resolution, at least 0, lower is better.

    A batch has 32 frames of 256 x 256 by default, fewer larger ones; `network` is of `load_lpips`,
    where it is loaded already. Errors as `load_lpips`, and ValueError on too small frames.
    """
    device, model = torch.device(inputs.device), network or load_lpips(backbone, inputs.device)
    most = _LPIPS_PIXELS // (real.shape[2] * real.shape[3])
    batch_size = inputs.batch_size or min(32, max(1, most))

    def frames(clip: np.ndarray) -> Iterator[torch.Tensor]:
        for start in range(0, len(clip), batch_size):
            part = torch.from_numpy(np.array(clip[None, start : start + batch_size]))
            yield video.to_model(part.to(device))[0]

    def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        parts = zip(frames(a), frames(b), strict=True)
        return torch.cat([model(*part).flatten() for part in parts]).cpu().numpy()

    with full_precision(device):
        return _mean_over_frames(real, fake, inputs, f"lpips-{backbone}", compare)


lpips_vgg = functools.partial(lpips_distance, backbone="vgg")


def diversity(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return, for each condition, the mean LPIPS-alex over all pairs of its samples.

    `fake` has `inputs.samples` consecutive clips of each of N conditions, at least 2, else
    ValueError; `real` is ignored. Higher is more diverse.
    """
    count = inputs.samples
    if count < 2 or len(fake) % count:
        raise ValueError(f"diversity needs 2 or more samples of each condition, got {count}")
    network, silent = load_lpips("alex", inputs.device), replace(inputs, progress=False)
    pairs = list(combinations(range(count), 2))
    distances = [
        lpips_distance(fake[i::count], fake[j::count], silent, network=network)
        for i, j in track(pairs, inputs.bar("diversity"))
    ]
    return np.stack(distances, axis=1).mean(axis=1)


def smoothness(real: np.ndarray, fake: np.ndarray, inputs: Inputs = DEFAULTS) -> np.ndarray:
    """Return how well the odd frames of `fake` follow from their neighbours, in percent.

    VBench (Huang et al., arXiv 2311.17982) drops the odd frames of a clip, lets a network (AMT-S)
    interpolate them from the even ones, and reports (255 - d) / 255 for the mean absolute
    difference d in grey levels over those frames. Here the mean of the two neighbours stands in for
    the network, so moving edges cost more than with VBench and values of the two do not compare. As
    there, a still or blurred clip counts as smooth, and an even number of frames loses its last.
    ValueError on fewer than 3 frames.
    """
    check_clips(fake, METRICS["smoothness"].min_frames)
    values = np.empty(len(fake))
    for i, clip in enumerate(fake):
        x = clip.astype(np.int16)
        twice = 2 * x[1:-1:2] - x[:-2:2] - x[2::2]  # exact: at most 510 either way
        values[i] = np.abs(twice).mean() / 2
    return 100 * (255 - values) / 255
