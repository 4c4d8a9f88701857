"""Our UNets against diffusers' of the same configuration: no baseline of ours is a straw man.

And I3D as FVD runs it against the same network run plainly. Rounds alternate; see `timing.compare`.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from paradigms import BATCH, Scale
from timing import assert_not_slower, compare, synchronised
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lamd.config.kinds import WidthsConfig
from lamd.metrics.i3d import I3D, MaxPool3D, Unit3D, preprocess, same_padding
from lamd.models.unet import UNet3d
from lamd.paradigms.untrained import build_dmg


def test_2d_step_against_diffusers(benchmark, scale: Scale):
    from diffusers import UNet2DConditionModel

    widths = scale.widths.model_copy(update={"condition": "cross_attention"})  # all that theirs has
    frames, size = 8, scale.shape[1] // 2  # a batch of clips, as sampling has
    channels = [widths.base_channels * m for m in widths.channel_multipliers]
    content = widths.image_channels[-1]
    ours = build_dmg(widths).eval()
    cross = [2**level in widths.attention_factors for level in range(len(channels))]
    theirs = UNet2DConditionModel(
        in_channels=3,
        out_channels=3,
        block_out_channels=channels,
        layers_per_block=widths.num_res_blocks,
        down_block_types=["CrossAttnDownBlock2D" if c else "DownBlock2D" for c in cross],
        up_block_types=["CrossAttnUpBlock2D" if c else "UpBlock2D" for c in reversed(cross)],
        norm_num_groups=min(32, widths.base_channels),
        cross_attention_dim=widths.context_channels,
        attention_head_dim=[c // widths.head_channels for c in channels],  # their name for heads
    ).eval()
    z, t = torch.randn(frames, 3, size, size), torch.full((frames,), 500)
    f_x0 = torch.randn(frames, content, size, size)
    tokens = ours.tokens(f_x0)

    def our_step() -> torch.Tensor:
        return ours.predict(z, t, ours.contexts(tokens, z.shape[-2:]))

    def their_step() -> torch.Tensor:
        return theirs(z, t, tokens).sample

    with torch.inference_mode():
        assert _parameters(ours) - _parameters(ours.tokens) == _parameters(theirs)
        assert _flops(our_step) == _flops(their_step)
        condition = ours.condition(f_x0)
        info = compare(our_step, their_step, "equal_flops")
        info |= compare(lambda: ours.denoise(z, t, condition), their_step, "as_sampled")
        benchmark.pedantic(synchronised(our_step), rounds=5)
    benchmark.extra_info |= info
    assert_not_slower(info, "equal_flops")


@pytest.mark.parametrize("public", ["UNet3DConditionModel", "UNetSpatioTemporalConditionModel"])
def test_3d_step_against_diffusers(benchmark, scale: Scale, public: str):
    frames, size = scale.shape
    base_channels = max(32, scale.widths.base_channels)  # one of them has groups of 32 channels
    widths = scale.widths.model_copy(update={"base_channels": base_channels, "head_channels": 32})
    ours = UNet3d(widths, channels=3, conv3d="factorised").eval()
    x, given = torch.randn(BATCH, 3, frames, size, size), torch.randn(BATCH, 3, size, size)
    t = torch.full((BATCH,), 500)
    repeated = given[:, :, None].expand(-1, -1, frames, -1, -1)
    their_step = _public_3d(public, widths, torch.cat([x, repeated], dim=1), t)

    def our_step() -> torch.Tensor:
        return ours(x, t, given)

    with torch.inference_mode():
        assert our_step().numel() == their_step().numel()
        info = compare(our_step, their_step, "equal_width")
        work = _flops(their_step) / _flops(our_step)
        benchmark.pedantic(synchronised(our_step), rounds=5)
    # Theirs has further temporal layers, so the times at equal width are of unequal work.
    per_flop = info["equal_width_ratio"] / work
    info |= {"per_flop_ratio": per_flop, "per_flop_noise": info["equal_width_noise"]}
    benchmark.extra_info |= info | {"work_ratio": work}
    print(f"work: theirs / ours {work:.2f}; time per FLOP: theirs / ours {per_flop:.2f}")
    assert_not_slower(info, "per_flop")


def test_i3d_features_against_the_same_network_run_plainly(benchmark, scale: Scale):
    ours = I3D().eval()
    theirs = copy.deepcopy(ours)
    _make_plain(theirs)
    ours = ours.to(memory_format=torch.channels_last_3d)
    clips = torch.randint(0, 256, (BATCH, 16, scale.shape[1], scale.shape[1], 3), dtype=torch.uint8)

    def our_features() -> torch.Tensor:
        return ours(preprocess(clips).contiguous(memory_format=torch.channels_last_3d))

    def their_features() -> torch.Tensor:
        return torch.cat([theirs(preprocess(clip)) for clip in clips.split(1)])

    with torch.inference_mode():
        torch.testing.assert_close(our_features(), their_features(), atol=1e-4, rtol=1e-3)
        info = compare(our_features, their_features, "features")
        benchmark.pedantic(synchronised(our_features), rounds=3)
    benchmark.extra_info |= info
    assert_not_slower(info, "features")


class _Plain(nn.Module):
    """A layer behind TensorFlow's SAME padding, as ports of I3D do it."""

    def __init__(self, layer: nn.Module, kernel: tuple, stride: tuple, value: float):
        super().__init__()
        self.layer, self.kernel, self.stride, self.value = layer, kernel, stride, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes = zip(x.shape[:1:-1], self.kernel[::-1], self.stride[::-1], strict=True)
        pads = [pad for size, k, s in sizes for pad in same_padding(size, k, s)]
        return self.layer(F.pad(x, pads, value=self.value))


def _make_plain(network: nn.Module) -> None:
    for name, part in network.named_children():
        if isinstance(part, MaxPool3D):
            pool = nn.MaxPool3d(part.kernel, part.stride)
            setattr(network, name, _Plain(pool, part.kernel, part.stride, -torch.inf))
        elif isinstance(part, Unit3D):
            layer = nn.Sequential(part.conv, nn.ReLU())
            setattr(network, name, _Plain(layer, part.kernel, part.stride, 0.0))
        else:
            _make_plain(part)


def _public_3d(
    name: str, widths: WidthsConfig, both: torch.Tensor, t: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """Build diffusers' 3-D UNet `name`; return its step on `both` (B, 6, L, H, W)."""
    import diffusers

    channels = [widths.base_channels * m for m in widths.channel_multipliers]
    cross = [2**level in widths.attention_factors for level in range(len(channels))]
    suffix = "3D" if name == "UNet3DConditionModel" else "SpatioTemporal"
    options = {
        "in_channels": 6,
        "out_channels": 3,
        "block_out_channels": channels,
        "layers_per_block": widths.num_res_blocks,
        "down_block_types": [f"{'CrossAttn' * c}DownBlock{suffix}" for c in cross],
        "up_block_types": [f"{'CrossAttn' * c}UpBlock{suffix}" for c in reversed(cross)],
        "cross_attention_dim": widths.context_channels,
    }
    context = torch.randn(len(both), 1, widths.context_channels)
    if name == "UNet3DConditionModel":
        flat = diffusers.UNet3DConditionModel(
            attention_head_dim=widths.head_channels, **options
        ).eval()
        return lambda: flat(both, t, context).sample
    time_ids = torch.zeros(len(both), 3)
    deep = diffusers.UNetSpatioTemporalConditionModel(
        num_attention_heads=[c // widths.head_channels for c in channels],
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
        **options,
    ).eval()
    return lambda: deep(both.transpose(1, 2), t, context, time_ids).sample


def _flops(step: Callable[[], object]) -> int:
    # PyTorch counts no FLOPs of the fused attention of CPUs; unfused, full scale would take 30 GB
    on_cpu = torch.get_default_device().type == "cpu"
    counted = sdpa_kernel(SDPBackend.MATH) if on_cpu else nullcontext()
    with counted, FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
