"""`lamd.flops` against closed forms, on random widths."""

from functools import partial
from typing import get_args

import closed_forms as closed
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from small import make_dmg, make_vae
from torch import nn
from torch.nn import functional as F

from lamd.config.kinds import Paradigm, WidthsConfig
from lamd.config.networks import UNetWidths
from lamd.data.vocabulary import Vocabulary
from lamd.flops import Cost, count
from lamd.metrics.i3d import I3D
from lamd.models.unet import UNet3d
from lamd.nn import SpatialTransformer
from lamd.paradigms.untrained import build_paradigm, sampling_costs

NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # a failing config is small enough
WIDTHS = WidthsConfig(
    base_channels=16,
    channel_multipliers=(1, 2),
    num_res_blocks=1,
    attention_factors=(2,),
    head_channels=8,
    context_channels=16,
    condition="both",
    image_channels=(8, 8, 16),
    motion_encoder_channels=(8, 8),
    decoder_channels=(8, 12, 16),
    vae_res_blocks=(0, 1, 1),
    fusion="add",
)
few = settings(max_examples=8, deadline=None, phases=NO_SHRINKING)
batches = st.integers(2, 3)  # one cell of one channel has no group norm
widths = st.sampled_from([8, 12, 16])
block_kinds = st.sampled_from(["full", "factorised"])


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture(autouse=True)
def meta():
    """Build and call everything on the meta device."""
    with torch.device("meta"):
        yield


def test_count_of_single_layers():
    linear, conv = nn.Linear(5, 7), nn.Conv2d(3, 4, 3, padding=1, bias=False)
    x, h = torch.empty(2, 5), torch.empty(2, 3, 8, 8)
    assert count(lambda: linear(x)) == Cost(2 * 5 * 7 * 2, 5 * 7 + 7, 2 * 7)
    assert count(lambda: conv(h)) == Cost(2 * 3 * 9 * 4 * 2 * 64, 4 * 3 * 9, 2 * 4 * 64)
    assert count(lambda: conv(h), 2) == Cost(3 * 9 * 4 * 2 * 64, 4 * 3 * 9, 4 * 64)
    q, k = torch.empty(2, 1, 6, 4), torch.empty(2, 1, 9, 4)
    attention = count(lambda: F.scaled_dot_product_attention(q, k, k))
    assert attention == Cost(2 * 2 * 6 * 9 * 4 * 2, 0, q.numel())


def test_inference_mode_counts_the_same():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 8))
    x = torch.empty(2, 3, 8, 8)

    def run() -> torch.Tensor:
        tokens = layers(x)[None]
        return F.scaled_dot_product_attention(*3 * [tokens[None]]) + attention(*3 * [tokens])[0]

    expected = count(run)
    with torch.inference_mode():
        assert count(run) == expected
        built = sampling_costs("latent-motion", WIDTHS, batch=2, frames=8, size=16)
    assert built == sampling_costs("latent-motion", WIDTHS, batch=2, frames=8, size=16)


def test_count_reads_shared_parameters_once():
    linear = nn.Linear(5, 5)
    x = torch.empty(1, 5)
    once, twice = count(lambda: linear(x)), count(lambda: linear(linear(x)))
    assert (twice.flops, twice.parameters) == (2 * once.flops, once.parameters)


@st.composite
def unets(draw) -> dict:
    levels = draw(st.integers(1, 3))
    factors = [2**level for level in range(levels)]
    return {
        "base_channels": draw(st.sampled_from([8, 16])),
        "channel_multipliers": tuple(
            draw(st.lists(st.integers(1, 3), min_size=levels, max_size=levels))
        ),
        "num_res_blocks": draw(st.integers(1, 2)),
        "attention_factors": tuple(draw(st.sets(st.sampled_from(factors)))),
        "head_channels": 8,
    }


@few
@given(
    unets(),
    batches,
    st.sampled_from(["cross_attention", "concat", "both", "none"]),
    st.sampled_from([4, 8]),
    widths,
    st.sampled_from([1, 2, 4]),
)
def test_dmg(unet, batch, condition, size, content_channels, frames):
    options = unet | {
        "motion_channels": 3,
        "content_channels": content_channels,
        "context_channels": 8,
        "condition": condition,
        "num_latent_frames": frames,
    }
    dmg = make_dmg(**options)
    t, f_x0 = (
        torch.zeros(batch, dtype=torch.int64),
        torch.empty(batch, content_channels, size, size),
    )
    z_t = torch.empty(batch, 3, *([frames] if frames > 1 else []), size, size)
    condition = dmg.condition(f_x0)
    once, step = count(lambda: dmg.condition(f_x0)), count(lambda: dmg.denoise(z_t, t, condition))
    assert once == closed.dmg_condition(batch=batch, size=size, **options)
    assert step == closed.dmg_step(batch=batch, size=size, **options)
    assert (step + once).parameters == parameters(dmg)


@few
@given(unets(), batches, block_kinds, st.integers(1, 5), st.sampled_from([4, 8]))
def test_unet3d(unet, batch, kind, frames, size):
    options = {"channels": 3, "conv3d": kind}
    denoiser, t = UNet3d(UNetWidths(**unet), **options), torch.zeros(batch, dtype=torch.int64)
    z_t = torch.empty(batch, 3, frames, size, size)
    step = count(lambda: denoiser(z_t, t, z_t[:, :, 0]))
    assert step == closed.unet3d_step(batch=batch, frames=frames, size=size, **unet, **options)
    assert step.parameters == parameters(denoiser)


@st.composite
def mcd_vaes(draw) -> dict:
    scales = draw(st.integers(2, 3))
    frames = draw(st.sampled_from([2, 4, 8, 16]))

    def each(values, count=scales):
        return tuple(draw(st.lists(values, min_size=count, max_size=count)))

    return {
        "num_frames": frames,
        "size": 8 * draw(st.integers(1, 2)),
        "spatial_downsampling": 2 ** (scales - 1),
        "temporal_downsampling": frames // draw(st.sampled_from([1, 2])),
        "motion_channels": draw(st.integers(1, 4)),
        "image_channels": each(widths),
        "motion_encoder_channels": each(widths, scales - 1),
        "decoder_channels": each(widths),
        "num_res_blocks": each(st.integers(0, 2)),
        "num_latent_blocks": draw(st.integers(0, 2)),
        "num_skip_scales": draw(st.integers(0, scales - 1)),
        "first_frame_residual": draw(st.sampled_from(["none", "add", "warp", "compose"])),
        "fusion": draw(st.sampled_from(["spade", "add"])),
        "conv3d": draw(block_kinds),
        "normalisation": "none",
    }


@few
@given(mcd_vaes(), batches)
def test_video_decoder(options, batch):
    vae = make_vae(**options)
    x, z_m = torch.empty(batch, *vae.clip_shape), torch.empty(batch, *vae.latent_shape)
    content = vae.encode_image(x[:, 0])
    decoder = count(lambda: vae.decode(z_m, *content))
    assert decoder == closed.video_decoder(batch=batch, **options)
    encoders = count(lambda: vae.encode_image(x[:, 0])) + count(lambda: vae.encode(x))
    assert (encoders + decoder).parameters == parameters(vae)


@pytest.mark.parametrize("paradigm", get_args(Paradigm))
def test_sampling_run_is_its_steps(paradigm):
    shape = {"batch": 2, "frames": 8, "size": 16}
    parts = build_paradigm(paradigm, WIDTHS)(num_steps=3, **shape)
    costs = sampling_costs(paradigm, WIDTHS, **shape)
    assert count(parts["denoise"], 2).flops == 3 * costs["step"].flops
    assert ("encode" in parts) == (costs["encode"] != Cost())


def test_all_denoisers_attend_at_the_same_resolutions(monkeypatch):
    forward, seen = SpatialTransformer.forward, set[int]()

    def watched(self: SpatialTransformer, x: torch.Tensor, context=None) -> torch.Tensor:
        seen.add(x.shape[-1])
        return forward(self, x, context)

    monkeypatch.setattr(SpatialTransformer, "forward", watched)
    widths = WIDTHS.model_copy(update={"attention_factors": (1, 2)})
    for paradigm in get_args(Paradigm):
        seen.clear()
        build_paradigm(paradigm, widths)(batch=2, frames=8, size=32, num_steps=1)["step"]()
        assert seen == {8, 4}, paradigm


@few
@given(unets(), batches, st.sampled_from(["cross_attention", "none"]), st.booleans(), st.booleans())
def test_dmg_with_prompts(unet, batch, condition, text, pooled):
    kind, layers, tokens = ("text", 2, 5) if text else ("class", 0, 1)
    vocabulary = Vocabulary.build(kind, ["red cone", "cube"])
    widths = unet | {
        "motion_channels": 2,
        "content_channels": 8,
        "context_channels": 16,
        "condition": condition,
        "max_prompt_tokens": tokens,
        "num_prompt_layers": layers,
        "pooled_prompt": pooled,
    }
    options = widths | {"batch": batch, "size": 8, "num_words": len(vocabulary)}
    dmg = make_dmg(vocabulary=vocabulary, **widths)  # in training mode: PyTorch fuses the other
    t, words = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, tokens, dtype=int)
    f_x0, z_t = torch.empty(batch, 8, 8, 8), torch.empty(batch, 2, 8, 8)
    condition = dmg.condition(f_x0, words)
    once = count(lambda: dmg.condition(f_x0, words))
    step = count(lambda: dmg.denoise(z_t, t, condition))
    assert once == closed.dmg_condition(**options)
    assert step == closed.dmg_step(**options)
    assert (step + once).parameters == parameters(dmg)


@pytest.mark.parametrize(("num_frames", "flops"), [(9, 36240033792), (30, 105477627904)])
def test_i3d_equals_its_closed_form(num_frames, flops):
    network, clip = I3D(), torch.empty(1, 3, num_frames, 224, 224)
    cost = count(lambda: network(clip))
    assert (cost.flops, cost.parameters) == (flops, parameters(network))


def test_steps_at_equal_width_differ_by_the_papers_factors():
    unet = {
        "base_channels": 224,
        "channel_multipliers": (1, 2, 3, 4),
        "num_res_blocks": 2,
        "attention_factors": (),
        "head_channels": 32,
    }
    t, z_m = torch.zeros(1, dtype=torch.int64), torch.empty(1, 3, 16, 16)
    dmg = make_dmg(
        motion_channels=3, content_channels=512, context_channels=512, condition="none", **unet
    )
    unet3d = UNet3d(UNetWidths(**unet), channels=3, conv3d="factorised")
    motion = count(lambda: dmg(z_m, t, torch.empty(1, 512, 16, 16))).flops
    clips = [torch.empty(1, 3, frames, size, size) for frames, size in ((16, 64), (4, 16))]
    pixel, latent = (count(partial(unet3d, x, t, x[:, :, 0])).flops for x in clips)
    assert pixel > 256 * motion  # L f_s^2 on BAIR's shape
    assert pixel / latent == pytest.approx(4 * 16, rel=0.05)  # f_t f_s^2
