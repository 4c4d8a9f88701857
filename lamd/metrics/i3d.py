"""I3D (Carreira & Zisserman, 2017) with the original Kinetics-400 weights, for FVD.

As in TensorFlow: SAME padding (asymmetric; max-pool pads with -inf), BatchNorm without scale and
eps 1e-3, average pool (2, 7, 7), features are the 400 logits before softmax, averaged over time.
"""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamd import weights
from lamd.base.progress import progress_bar

WEIGHTS = "i3d-kinetics-400"
NUM_FEATURES = 400
MIN_FRAMES = 9  # three temporal halvings must leave two steps for the last pool
RESIZE_RULE = "shorter-224-bilinear-crop.v1"
_SIZE = 224
_BN_EPS = 1e-3

# Output channels of branch 0, branch 1 (reduce, out), branch 2 (reduce, out), branch 3.
_MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's SAME padding before and after one axis: the odd one goes behind."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _pad_same(x: Tensor, kernel: tuple, stride: tuple, value: float) -> Tensor:
    sizes = zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True)
    pads = [pad for size, k, s in sizes for pad in same_padding(size, k, s)]
    return F.pad(x, pads, value=value) if any(pads) else x


class Unit3D(nn.Module):
    """Convolution with SAME padding, folded BatchNorm and ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: tuple = (1, 1, 1), stride: tuple = (1, 1, 1)):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        # BatchNorm in evaluation is affine per channel, so it is folded into weight and bias.
        self.conv = nn.Conv3d(c_in, c_out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == (1, 1, 1):
            conv, padding = self.conv, tuple(k // 2 for k in self.kernel)
            return F.conv3d(x, conv.weight, conv.bias, padding=padding).relu_()
        return self.conv(_pad_same(x, self.kernel, self.stride, 0.0)).relu_()


class MaxPool3D(nn.Module):
    """Max-pool with SAME padding by -inf, as a spatial pool followed by a temporal maximum.

    The two steps give the same maxima as one 3-D pool and run about five times as fast on a CPU.
    """

    def __init__(self, kernel: tuple, stride: tuple):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        b, _, length, h, w = x.shape
        (k_t, *k), (s_t, *s) = self.kernel, self.stride
        before = [same_padding(n, *ks)[0] for n, *ks in zip((h, w), k, s, strict=True)]
        # `ceil_mode` adds the odd row and column behind, as SAME does.
        frames = F.max_pool2d(x.transpose(1, 2).flatten(0, 1), k, s, before, ceil_mode=True)
        x = frames.unflatten(0, (b, length)).transpose(1, 2)
        if k_t == 1:
            return x
        x = F.pad(x, (0, 0, 0, 0, *same_padding(length, k_t, s_t)), value=-math.inf)
        last = x.shape[2] - k_t + 1
        return functools.reduce(torch.maximum, (x[:, :, i : last + i : s_t] for i in range(k_t)))


class Mixed(nn.Module):
    """Inception block of four branches, concatenated over channels."""

    def __init__(self, c_in: int, channels: tuple[int, int, int, int, int, int]):
        super().__init__()
        b0, b1_in, b1, b2_in, b2, b3 = channels
        self.branch_0 = Unit3D(c_in, b0)
        self.branch_1 = nn.Sequential(Unit3D(c_in, b1_in), Unit3D(b1_in, b1, (3, 3, 3)))
        self.branch_2 = nn.Sequential(Unit3D(c_in, b2_in), Unit3D(b2_in, b2, (3, 3, 3)))
        self.branch_3 = nn.Sequential(MaxPool3D((3, 3, 3), (1, 1, 1)), Unit3D(c_in, b3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)], 1
        )


class I3D(nn.Module):
    """I3D up to its logits.

    Input float32 (B, 3, L, 224, 224) in [-1, 1], L >= 9; output (B, 400).
    """

    def __init__(self):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3D(3, 64, (7, 7, 7), (2, 2, 2))
        self.MaxPool3d_2a_3x3 = MaxPool3D((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit3D(64, 64)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, (3, 3, 3))
        self.MaxPool3d_3a_3x3 = MaxPool3D((1, 3, 3), (1, 2, 2))
        c_in = 192
        for name, channels in _MIXED.items():
            if name == "Mixed_4b":
                self.MaxPool3d_4a_3x3 = MaxPool3D((3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                self.MaxPool3d_5a_2x2 = MaxPool3D((2, 2, 2), (2, 2, 2))
            self.add_module(name, Mixed(c_in, channels))
            c_in = channels[0] + channels[2] + channels[4] + channels[5]
        self.Logits = nn.Conv3d(c_in, NUM_FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        *stages, logits = self.children()
        for stage in stages:
            x = stage(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        return logits(x).mean(dim=(2, 3, 4))


def load_i3d(device: torch.device | str = "cpu") -> I3D:
    """Return I3D with the pinned weights, frozen, in evaluation mode.

    Raises:
        LamdError: when the weights cannot be fetched or have a wrong hash.
    """
    tensors = weights.load(WEIGHTS)
    with torch.device("meta"):
        model = I3D()
    state = {}
    for name, module in model.named_modules():
        if isinstance(module, Unit3D):
            weight, bias = _folded(tensors, _checkpoint_name(name))
            state |= {f"{name}.conv.weight": weight, f"{name}.conv.bias": bias}
    head = "params/Logits/Conv3d_0c_1x1/Conv_0"
    state["Logits.weight"] = _kernel(tensors[f"{head}/kernel"])
    state["Logits.bias"] = torch.from_numpy(tensors[f"{head}/bias"].copy())
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False).to(device)


def _checkpoint_name(name: str) -> str:
    stage, _, branch = name.partition(".")
    if not branch:
        return stage
    branch, _, index = branch.partition(".")
    unit = {
        ("branch_0", ""): "Conv3d_0a_1x1",
        ("branch_1", "0"): "Conv3d_0a_1x1",
        ("branch_1", "1"): "Conv3d_0b_3x3",
        ("branch_2", "0"): "Conv3d_0a_1x1",
        ("branch_2", "1"): "Conv3d_0b_3x3",
        ("branch_3", "1"): "Conv3d_0b_1x1",
    }[branch, index]
    return f"{stage}/{branch.replace('b', 'B', 1)}/{unit}"


def _kernel(kernel: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(kernel.transpose(4, 3, 0, 1, 2)))


def _folded(tensors: dict[str, np.ndarray], unit: str) -> tuple[Tensor, Tensor]:
    mean = torch.from_numpy(tensors[f"batch_stats/{unit}/BatchNorm_0/mean"].ravel()).double()
    var = torch.from_numpy(tensors[f"batch_stats/{unit}/BatchNorm_0/var"].ravel()).double()
    shift = torch.from_numpy(tensors[f"params/{unit}/BatchNorm_0/bias"].ravel()).double()
    scale = (var + _BN_EPS).rsqrt()
    weight = _kernel(tensors[f"params/{unit}/Conv_0/kernel"]).double() * scale.view(-1, 1, 1, 1, 1)
    return weight.float(), (shift - mean * scale).float()


def preprocess(videos: Tensor) -> Tensor:
    """Apply `RESIZE_RULE` to uint8 (B, L, H, W, 3): float32 (B, 3, L, 224, 224) in [-1, 1].

    Shorter side to 224, bilinear with `align_corners=False` and no antialiasing, centre crop.
    """
    b, length, h, w, _ = videos.shape
    frames = videos.permute(0, 1, 4, 2, 3).reshape(b * length, 3, h, w).float()
    scale = _SIZE / min(h, w)
    size = (_SIZE, math.ceil(w * scale)) if h < w else (math.ceil(h * scale), _SIZE)
    if (h, w) != size:
        frames = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
    top, left = (size[0] - _SIZE) // 2, (size[1] - _SIZE) // 2
    frames = frames[:, :, top : top + _SIZE, left : left + _SIZE] / 127.5 - 1.0
    return frames.view(b, length, 3, _SIZE, _SIZE).permute(0, 2, 1, 3, 4)


@torch.inference_mode()
def features(
    videos: np.ndarray,
    *,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    progress: str | None = None,
) -> np.ndarray:
    """Return the I3D logits of each clip, independent of how the clips are batched.

    Args:
        videos: uint8 (N, L, H, W, 3), L >= 9; a memory map is read batch by batch.
        device: where the network runs.
        batch_size: clips at a time; by default 1 on the CPU and 16 elsewhere.
        progress: label of a progress bar on stderr; no bar without it.

    Returns:
        float32 (N, 400).

    Raises:
        LamdError: when the weights are missing or wrong.
        ValueError: on another dtype or shape, or on clips under 9 frames.
    """
    if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
        raise ValueError(f"expected uint8 (N, L, H, W, 3), got {videos.dtype} {videos.shape}")
    if videos.shape[1] < MIN_FRAMES:
        raise ValueError(f"I3D needs clips of at least {MIN_FRAMES} frames, got {videos.shape[1]}")
    device = torch.device(device)
    batch_size = batch_size or (1 if device.type == "cpu" else 16)
    model = load_i3d(device).to(memory_format=torch.channels_last_3d)
    rows = np.empty((len(videos), NUM_FEATURES), np.float32)
    # TF32 would move the logits in the third digit, and with them the published values.
    with (
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
        torch.autocast(device.type, enabled=False),
        progress_bar(progress, len(videos)) as advance,
    ):
        for start in range(0, len(videos), batch_size):
            batch = torch.from_numpy(np.array(videos[start : start + batch_size])).to(device)
            x = preprocess(batch).contiguous(memory_format=torch.channels_last_3d)
            rows[start : start + len(batch)] = model(x).cpu().numpy()
            advance(len(batch))
    return rows
