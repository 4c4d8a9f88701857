"""Paired frame metrics: PSNR, SSIM and LPIPS of generated clips against the real ones.

All take uint8 (N, L, H, W, 3) and return one value per clip, the mean over its frames.
"""

import functools
import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lamd import weights
from lamd.base.errors import LamdError
from lamd.base.progress import progress_bar
from lamd.io import video

if TYPE_CHECKING:
    import lpips

MAX_PSNR = 100.0  # dB, ours: what identical frames count as
SSIM_SIGMA = 1.5  # Wang et al. 2004; with scikit-image's truncation a window of 11 x 11
MIN_SSIM_SIZE = 11
MIN_LPIPS_SIZE = {"alex": 31, "vgg": 16}  # below, the last feature map would be empty

BACKBONES = {"alex": "lpips-alexnet", "vgg": "lpips-vgg16"}
# The linear heads lie inside the `lpips` package (version 0.1 of the metric).
_HEADS_SHA256 = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}


def check_pair(real: np.ndarray, fake: np.ndarray) -> None:
    """Raise ValueError unless both are uint8 (N, L, H, W, 3) of one shape."""
    for name, videos in (("real", real), ("fake", fake)):
        if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
            raise ValueError(
                f"{name}: expected uint8 (N, L, H, W, 3), got {videos.dtype} {videos.shape}"
            )
    if real.shape != fake.shape:
        raise ValueError(f"real {real.shape} and fake {fake.shape} differ")


def psnr(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Return PSNR per clip in dB, data range 255, each frame capped at `MAX_PSNR`.

    Real and fake are uint8 (N, L, H, W, 3) of one shape, else ValueError; the result is float64
    (N,), higher is better.
    """
    check_pair(real, fake)
    values = np.empty(real.shape[:2])
    for i, (a, b) in enumerate(zip(real, fake, strict=True)):
        mse = ((a.astype(np.float64) - b) ** 2).mean(axis=(1, 2, 3))
        with np.errstate(divide="ignore"):
            values[i] = np.minimum(10 * np.log10(255.0**2 / mse), MAX_PSNR)
    return values.mean(axis=1)


def ssim(real: np.ndarray, fake: np.ndarray, *, progress: str | None = None) -> np.ndarray:
    """Return SSIM per clip: Gaussian window (sigma 1.5, 11 x 11), data range 255, mean of RGB.

    Real and fake are uint8 (N, L, H, W, 3) of one shape and at least 11 x 11, else ValueError; the
    result is float64 (N,) in [-1, 1], higher is better.
    """
    from skimage.metrics import structural_similarity

    check_pair(real, fake)
    if min(real.shape[2:4]) < MIN_SSIM_SIZE:
        raise ValueError(f"SSIM needs frames of at least 11 x 11, got {real.shape[2:4]}")
    frame_ssim = functools.partial(
        structural_similarity,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
    values = np.empty(real.shape[:2])
    with progress_bar(progress, len(real)) as advance:
        for i, (a, b) in enumerate(zip(real, fake, strict=True)):
            values[i] = [frame_ssim(x, y) for x, y in zip(a, b, strict=True)]
            advance(1)
    return values.mean(axis=1)


def load_lpips(backbone: str = "alex", device: torch.device | str = "cpu") -> "lpips.LPIPS":
    """Return LPIPS with the pinned backbone, frozen, in evaluation mode; it draws no random number.

    Its inputs are float32 (N, 3, H, W) in [-1, 1], its output (N, 1, 1, 1); gradients flow to the
    inputs, so it also serves as a training loss.

    Args:
        backbone: "alex" or "vgg".

    Raises:
        LamdError: when weights cannot be fetched, or do not have their pinned hash.
    """
    import lpips

    tensors = weights.load(BACKBONES[backbone])
    # On the meta device nothing is initialised: the global generator stays untouched.
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchvision")
        model = lpips.LPIPS(net=backbone, pretrained=False, pnet_rand=True, verbose=False)
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
    real: np.ndarray,
    fake: np.ndarray,
    backbone: str = "alex",
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    progress: str | None = None,
) -> np.ndarray:
    """Return LPIPS per clip at the frames' own resolution, mean over frames.

    Args:
        real, fake: uint8 (N, L, H, W, 3) of one shape.
        backbone: "alex" or "vgg".
        batch_size: frames at a time.
        progress: label of a progress bar on stderr; no bar without it.

    Returns:
        float64 (N,), at least 0, lower is better.

    Raises:
        LamdError: when weights cannot be fetched, or do not have their pinned hash.
        ValueError: on another dtype or layout, differing shapes, or frames too small.
    """
    check_pair(real, fake)
    n, length, h, w, _ = real.shape
    if min(h, w) < MIN_LPIPS_SIZE[backbone]:
        raise ValueError(
            f"LPIPS-{backbone} needs frames of at least {MIN_LPIPS_SIZE[backbone]} "
            f"pixels, got {h} x {w}"
        )
    device = torch.device(device)
    model = load_lpips(backbone, device)
    values = np.empty((n, length))
    with (
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
        torch.autocast(device.type, enabled=False),
        progress_bar(progress, n) as advance,
    ):
        for i in range(n):
            a, b = (
                video.to_model(torch.from_numpy(np.array(v[i : i + 1])).to(device))[0]
                for v in (real, fake)
            )
            parts = zip(a.split(batch_size), b.split(batch_size), strict=True)
            values[i] = torch.cat([model(x, y).flatten() for x, y in parts]).cpu().numpy()
            advance(1)
    return values.mean(axis=1)
