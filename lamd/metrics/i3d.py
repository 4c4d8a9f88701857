"""I3D (Carreira & Zisserman, 2017) with the original Kinetics-400 weights, for FVD.

As in TensorFlow: SAME padding (asymmetric; max-pool pads with -inf), BatchNorm without scale and
eps 1e-3, average pool (2, 7, 7), features are the 400 logits before softmax, averaged over time.
"""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lamd import weights
from lamd.metrics.extract import extract
from lamd.metrics.registry import METRICS
from lamd.metrics.values import DEFAULTS, Inputs, check_clips

WEIGHTS = "i3d-kinetics-400"
NUM_FEATURES = 400
_BATCH_PIXELS = 16 * 32 * 256**2  # in a batch, as float32 before they are resized
RESIZE_RULE = "shorter-224-bilinear-crop.v2"
_SIZE = 224
_AT_ONCE = 2**24  # pixels of the frames that are resized together
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
    """Return TensorFlow's SAME padding before and after one axis: an odd one goes after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


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
        sizes = zip(x.shape[:1:-1], self.kernel[::-1], self.stride[::-1], strict=True)
        pads = [pad for size, k, s in sizes for pad in same_padding(size, k, s)]
        return self.conv(F.pad(x, pads)).relu_()


class MaxPool3D(nn.Module):
    """Max-pool with SAME padding by -inf: a spatial pool, then a temporal maximum.

    As two steps it runs about five times as fast on a CPU.
    """

    def __init__(self, kernel: tuple, stride: tuple):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        length, h, w = x.shape[2:]
        (k_t, *k), (s_t, *s) = self.kernel, self.stride
        before = [same_padding(n, *ks)[0] for n, *ks in zip((h, w), k, s, strict=True)]
        # `ceil_mode` adds the odd row and column behind, as SAME does.
        frames = rearrange(x, "b c l h w -> (b l) c h w")
        frames = F.max_pool2d(frames, k, s, before, ceil_mode=True)
        x = rearrange(frames, "(b l) c h w -> b c l h w", l=length)
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
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class I3D(nn.Module):
    """I3D up to its logits: float32 (B, 3, L, 224, 224) in [-1, 1], L >= 9, to (B, 400)."""

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
        return logits(F.avg_pool3d(x, (2, 7, 7), stride=1)).mean(dim=(2, 3, 4))


def load_i3d(device: torch.device | str = "cpu") -> I3D:
    """Return I3D with the pinned weights, frozen, in evaluation mode; errors as `weights.load`."""
    tensors = weights.load(WEIGHTS)
    with torch.device("meta"):
        model = I3D()
    state: dict[str, Tensor] = {}
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
    kernel = {"0": "0a_1x1", "1.0": "0a_1x1", "2.0": "0a_1x1", "3.1": "0b_1x1"}
    number = branch.removeprefix("branch_")
    return f"{stage}/Branch_{number[0]}/Conv3d_{kernel.get(number, '0b_3x3')}"


def _kernel(kernel: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rearrange(kernel, "l h w i o -> o i l h w")))


def _folded(tensors: dict[str, np.ndarray], unit: str) -> tuple[Tensor, Tensor]:
    mean, var, shift = (
        torch.from_numpy(tensors[f"{group}/{unit}/BatchNorm_0/{name}"].ravel()).double()
        for group, name in (("batch_stats", "mean"), ("batch_stats", "var"), ("params", "bias"))
    )
    scale = (var + _BN_EPS).rsqrt()
    weight = _kernel(tensors[f"params/{unit}/Conv_0/kernel"]).double() * scale.view(-1, 1, 1, 1, 1)
    return weight.float(), (shift - mean * scale).float()


def preprocess(videos: Tensor) -> Tensor:
    """Apply `RESIZE_RULE` to uint8 (B, L, H, W, 3): float32 (B, 3, L, 224, 224) in [-1, 1].

    Shorter side to 224, bilinear with half-pixel centres (`align_corners=False`) and no
    antialiasing, centre crop. TensorFlow 1's `resize_bilinear`, of the original FVD, maps pixel i
    to i times the scale, without the half, and stretches frames that are not square.
    """
    length, h, w = videos.shape[1:4]
    # In integers: as a float, the scale of 100 pixels to 224 gives 225, in public ports too.
    size = tuple(-(-side * _SIZE // min(h, w)) for side in (h, w))
    top, left = (size[0] - _SIZE) // 2, (size[1] - _SIZE) // 2
    resized = []
    for part in rearrange(videos, "b l h w c -> (b l) c h w").split(max(1, _AT_ONCE // (h * w))):
        frames = part.float()
        if (h, w) != size:
            frames = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
        resized.append(frames[:, :, top : top + _SIZE, left : left + _SIZE] / 127.5 - 1.0)
    return rearrange(torch.cat(resized), "(b l) c h w -> b c l h w", l=length)


def features(
    videos: np.ndarray, inputs: Inputs = DEFAULTS, label: str = "clips", network: I3D | None = None
) -> np.ndarray:
    """Return the I3D logits of uint8 clips (N, L, H, W, 3), L >= 9, as float32 (N, 400).

    The batch size, by default 2 clips on the CPU and 16 elsewhere, fewer of long or large ones,
    changes values by rounding; `label` names the progress bar; `network` is of `load_i3d`, where
    loaded already. LamdError when the weights are missing or wrong, ValueError on too few frames.
    """
    check_clips(videos, METRICS["fvd"].min_frames)
    layout, shape = torch.channels_last_3d, (len(videos), NUM_FEATURES)
    model = (network or load_i3d(inputs.device)).to(memory_format=layout)
    # One clip alone would lose its memory format where branches are joined, and with it a quarter
    # of the speed.
    most = _BATCH_PIXELS // (videos.shape[1] * max(videos.shape[2] * videos.shape[3], _SIZE**2))
    batch_size = inputs.batch_size or min(2 if inputs.device == "cpu" else 16, max(1, most))

    def run(clips: Tensor) -> Tensor:
        return model(preprocess(clips).contiguous(memory_format=layout))

    return extract(run, videos, shape, batch_size, inputs, f"I3D features, {label}")
