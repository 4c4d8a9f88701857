"""The closed forms against what PyTorch counts when the networks run on the meta device."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from lamd import cost
from lamd.cost import Cost
from lamd.cost.paradigms import PARADIGMS, Widths, sampling_costs
from lamd.cost.timed import build_paradigm
from lamd.data.vocabulary import Vocabulary
from lamd.metrics.i3d import I3D
from lamd.models.captioner import Captioner
from lamd.models.discriminator import VideoDiscriminator
from lamd.models.dmg import DMG
from lamd.models.latent_video import VideoAutoencoder
from lamd.models.mcd_vae import MCDVAE
from lamd.models.unet3d import UNet3d

WRITERS = {
    "conv2d",
    "conv3d",
    "conv_transpose3d",
    "linear",
    "group_norm",
    "layer_norm",
    "scaled_dot_product_attention",
}
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # a failing config is small enough
few = settings(max_examples=8, deadline=None, phases=NO_SHRINKING)
batches = st.integers(2, 3)  # one cell of one channel has no group norm
widths = st.sampled_from([8, 12, 16])
block_kinds = st.sampled_from(["full", "factorised"])


class Written(TorchFunctionMode):
    """Counts the elements that convolutions, linear maps, attention and norms write."""

    elements = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function.__name__ in WRITERS:
            self.elements += out.numel()
        return out


def counted(run, *shapes: tuple[int, ...]) -> tuple[int, int]:
    """Return the FLOPs and written elements of `run` on meta tensors."""
    inputs = [torch.empty(shape, device="meta") for shape in shapes]
    with torch.no_grad(), FlopCounterMode(display=False) as flops, Written() as written:
        run(*inputs)
    return flops.get_total_flops(), written.elements


def parameters(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def check(closed: Cost, run, *shapes: tuple[int, ...]) -> None:
    assert (closed.flops, closed.activations) == counted(run, *shapes)


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
    with torch.device("meta"):
        dmg = DMG(**options)
        t = torch.zeros(batch, dtype=torch.int64)
    step = cost.dmg_step(batch=batch, size=size, **options)
    once = cost.dmg_condition(batch=batch, size=size, **options)
    content = (batch, content_channels, size, size)
    latent = (batch, 3, *([frames] if frames > 1 else []), size, size)
    prepared = dmg.condition(torch.empty(content, device="meta"))
    check(once, dmg.condition, content)
    check(step, lambda z_t: dmg.denoise(z_t, t, prepared), latent)
    assert (step + once).parameters == parameters(dmg)


@few
@given(unets(), batches, block_kinds, st.integers(1, 5), st.sampled_from([4, 8]))
def test_unet3d(unet, batch, kind, frames, size):
    options = unet | {"channels": 3, "conv3d": kind}
    with torch.device("meta"):
        denoiser = UNet3d(**options)
        t = torch.zeros(batch, dtype=torch.int64)
    closed = cost.unet3d_step(batch=batch, frames=frames, size=size, **options)
    check(
        closed,
        lambda z_t, given: denoiser(z_t, t, given),
        (batch, 3, frames, size, size),
        (batch, 3, size, size),
    )
    assert closed.parameters == parameters(denoiser)


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
        "first_frame_residual": draw(st.sampled_from(["none", "add", "warp"])),
        "fusion": draw(st.sampled_from(["spade", "concat", "add"])),
        "conv3d": draw(block_kinds),
        "normalisation": "none",
    }


@few
@given(mcd_vaes(), batches)
def test_mcd_vae(options, batch):
    with torch.device("meta"):
        vae = MCDVAE(**options)
    frame = (batch, *vae.clip_shape[1:])
    f_x0, skips = vae.encode_image(torch.empty(frame, device="meta"))
    image = cost.image_encoder(batch=batch, **options)
    motion = cost.motion_encoder(batch=batch, **options)
    decoder = cost.video_decoder(batch=batch, **options)
    check(image, vae.encode_image, frame)
    check(motion, vae.encode_motion, (batch, *vae.clip_shape))
    check(decoder, lambda z_m: vae.decode(z_m, f_x0, skips), (batch, *vae.latent_shape))
    assert cost.total([image, motion, decoder]).parameters == parameters(vae)


@few
@given(
    batches,
    block_kinds,
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 2),
    st.lists(widths, min_size=1, max_size=3),
)
def test_video_autoencoder(batch, kind, spatial, temporal, blocks, channels):
    options = {
        "num_frames": 8,
        "size": 8,
        "spatial_downsampling": spatial,
        "temporal_downsampling": temporal,
        "latent_channels": 3,
        "channels": tuple(channels),
        "num_res_blocks": blocks,
        "conv3d": kind,
    }
    with torch.device("meta"):
        autoencoder = VideoAutoencoder(**options)
    encoder = cost.latent_video_encoder(batch=batch, **options)
    decoder = cost.latent_video_decoder(batch=batch, **options)
    check(encoder, autoencoder.encode, (batch, *autoencoder.clip_shape))
    check(decoder, autoencoder.decode, (batch, *autoencoder.latent_shape))
    assert (encoder + decoder).parameters == parameters(autoencoder)


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_parts_of_a_sampling_run(paradigm):
    widths = Widths(
        base_channels=16,
        channel_multipliers=(1, 2),
        num_res_blocks=1,
        attention_factors=(2,),
        head_channels=8,
        context_channels=16,
        image_channels=(8, 8, 16),
        motion_encoder_channels=(8, 8),
        decoder_channels=(8, 12, 16),
    )
    shape = {"batch": 2, "frames": 8, "size": 16}
    closed = sampling_costs(paradigm, widths, **shape)
    with torch.device("meta"):
        parts = build_paradigm(paradigm, widths)(num_steps=3, **shape)
        found = {name: counted(run)[0] for name, run in parts.items()}
    assert found.pop("denoise") == 3 * closed["step"].flops
    assert found == {name: cost.flops for name, cost in closed.items() if cost.flops}


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
    closed = widths | {"batch": batch, "size": 8, "num_words": len(vocabulary)}
    with torch.device("meta"):
        dmg = DMG(vocabulary=vocabulary, **widths)  # in training mode: PyTorch fuses the other
        t, words = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, tokens, dtype=int)
    step, once = cost.dmg_step(**closed), cost.dmg_condition(**closed)
    content = torch.empty(batch, 8, 8, 8, device="meta")
    told = dmg.condition(content, words)
    check(step, lambda z_t: dmg.denoise(z_t, t, told), (batch, 2, 8, 8))
    assert once.flops == counted(lambda: dmg.condition(content, words))[0]
    assert (step + once).parameters == parameters(dmg)


@few
@given(batches, st.sampled_from([4, 16]), widths, st.integers(1, 4))
def test_discriminator(batch, frames, base_channels, num_layers):
    options = {"base_channels": base_channels, "num_layers": min(num_layers, frames // 4 + 1)}
    with torch.device("meta"):
        judge = VideoDiscriminator(**options)
    closed = cost.discriminator(batch=batch, num_frames=frames, size=32, **options)
    check(closed, judge, (batch, frames, 3, 32, 32))
    assert closed.parameters == parameters(judge)


def test_captioner():
    vocabulary = Vocabulary.build("text", ["the red cone", "a cube is moving"])
    options = {"max_tokens": 7, "channels": (8, 16), "num_layers": 2, "head_channels": 8}
    with torch.device("meta"):
        model = Captioner(vocabulary=vocabulary, num_frames=8, **options)
        words = torch.zeros(3, 7, dtype=torch.int64)
    clips = (3, 8, 3, 16, 16)
    closed = cost.captioner(batch=3, num_frames=8, size=16, num_words=len(vocabulary), **options)
    # Places are embedded once, whatever the batch.
    assert closed.flops == counted(lambda x: model(x, words), clips)[0]
    assert closed.parameters == parameters(model)


@pytest.mark.parametrize(("backbone", "size"), [("alex", 64), ("alex", 35), ("vgg", 32)])
def test_lpips(backbone, size):
    import lpips

    with torch.device("meta"):
        net = lpips.LPIPS(net=backbone, pretrained=False, pnet_rand=True, verbose=False)
    net.scaling_layer.to("meta")
    trunk, heads = cost.lpips(backbone, frames=3, size=size)
    pictures = (3, 3, size, size)
    assert 2 * trunk.flops + heads.flops == counted(net, pictures, pictures)[0]
    assert trunk.parameters + heads.parameters == sum(p.numel() for p in set(net.parameters()))


@pytest.mark.parametrize("num_frames", [9, 15, 16, 31])
def test_i3d(num_frames):
    with torch.device("meta"):
        network = I3D()
    closed = cost.i3d(batch=2, num_frames=num_frames)
    assert closed.flops == counted(network, (2, 3, num_frames, 224, 224))[0]
    assert closed.parameters == parameters(network)


def test_the_papers_factors_at_equal_width():
    unet = {
        "base_channels": 224,
        "channel_multipliers": (1, 2, 3, 4),
        "num_res_blocks": 2,
        "attention_factors": (),
        "head_channels": 32,
    }
    dmg = unet | {
        "motion_channels": 3,
        "content_channels": 512,
        "context_channels": 512,
        "condition": "none",
    }
    motion = cost.dmg_step(batch=1, size=16, **dmg).flops
    per_frame = unet | {"channels": 3, "conv3d": "factorised"}
    pixel = cost.unet3d_step(batch=1, frames=16, size=64, **per_frame).flops
    assert pixel > 256 * motion  # L f_s^2 on BAIR's shape
    latent = cost.unet3d_step(batch=1, frames=4, size=16, **per_frame).flops
    assert pixel / latent == pytest.approx(4 * 16, rel=0.05)  # f_t f_s^2
