"""MCD-VAE, DMG and discriminator: shapes, what depends on what, and published sizes."""

import math

import pytest
import torch
from small import small_dmg, small_unet3d, small_vae, wake
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lamd.config import GANConfig, load_target
from lamd.models.baselines import build_denoiser
from lamd.models.discriminator import VideoDiscriminator
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import LatentNorm, Posterior
from lamd.nn import (
    Attention,
    Context,
    FeedForward,
    Fusion,
    ResBlock,
    SpatialTransformer,
    TemporalUpsample,
    all_gather_with_grad,
    grid_embedding,
    sinusoidal_embedding,
    warp,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": "add"},
        {"fusion": "add", "conv3d": "factorised"},
        {"num_frames": 16, "temporal_downsampling": 16, "motion_channels": 1},
        {"num_frames": 2, "temporal_downsampling": 2, "normalisation": "layer"},
        {"num_skip_scales": 0, "normalisation": "instance"},
        {"num_skip_scales": 0, "first_frame_residual": "add"},
        {"first_frame_residual": "add"},
        {"first_frame_residual": "warp"},
        {"first_frame_residual": "compose"},
        {"first_frame_residual": "compose", "moved_skips": True, "copy_attention": True},
        {"num_skip_scales": 1, "moved_skips": True, "copy_attention": True, "fusion": "add"},
        {"num_skip_scales": 1, "normalisation": "none"},
        {
            "spatial_downsampling": 2,
            "image_channels": (8, 16),
            "motion_encoder_channels": (8,),
            "decoder_channels": (8, 16),
            "num_res_blocks": (1, 1),
            "num_skip_scales": 1,
        },
    ],
)
def test_shapes_over_the_options(changes):
    vae = small_vae(**changes)
    x = torch.rand(2, *vae.clip_shape) * 2 - 1
    out = vae(x, torch.randn(2, *vae.latent_shape))
    assert out.x_hat.shape == x.shape
    assert out.z_m.shape == out.posterior.mean.shape == (2, *vae.latent_shape)


def test_content_sees_the_first_frame_only_and_output_depends_on_both_latents():
    vae = small_vae().eval()
    wake(vae)
    x = torch.rand(2, *vae.clip_shape) * 2 - 1
    other = x.clone()
    other[:, 1:] = torch.rand_like(other[:, 1:])
    f_x0, skips = vae.encode_image(x[:, 0])
    f_other, skips_other = vae.encode_image(other[:, 0])
    assert torch.equal(f_x0, f_other)
    assert all(torch.equal(a, b) for a, b in zip(skips, skips_other, strict=True))
    assert [s.shape[-1] for s in skips] == [16, 8]
    assert not torch.allclose(vae.encode(x).mean, vae.encode(other).mean)

    z_m = torch.randn(2, *vae.latent_shape)
    x_hat = vae.decode(z_m, f_x0, skips)
    assert not torch.allclose(x_hat, vae.decode(z_m + 1, f_x0, skips), atol=1e-3)
    swapped = vae.encode_image(x[:, 0].flip(0))
    assert not torch.allclose(x_hat, vae.decode(z_m, *swapped), atol=1e-3)


def test_every_frame_of_the_clip_reaches_the_motion_latent():
    vae = small_vae()
    x = (torch.rand(1, *vae.clip_shape) * 2 - 1).requires_grad_()
    vae.encode(x).mean.square().sum().backward()
    assert (x.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).all()


def test_a_wrong_number_of_frames_is_refused():
    with pytest.raises(ValueError, match="expected clips"):
        small_vae().encode(torch.zeros(1, 4, 3, 32, 32))


def test_kl_equals_a_monte_carlo_estimate_for_both_reductions():
    torch.manual_seed(0)
    posterior = Posterior(torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3))
    q = torch.distributions.Normal(posterior.mean.double(), (0.5 * posterior.logvar.double()).exp())
    z = q.sample((200_000,))
    p = torch.distributions.Normal(0.0, 1.0)
    estimate = (q.log_prob(z) - p.log_prob(z)).mean(0).sum().item()
    assert posterior.kl("sum").item() == pytest.approx(estimate, rel=0.01)
    assert posterior.kl("mean").item() == pytest.approx(estimate / 18, rel=0.01)
    assert posterior.kl("per_pixel", 48).item() == pytest.approx(estimate / 48, rel=0.01)


def test_channel_normalisation_uses_batch_statistics_then_running_ones():
    vae = small_vae()
    z = 5 + 3 * torch.randn(64, *vae.latent_shape)
    normalised = vae.normalise(z)
    assert normalised.mean().abs() < 1e-5
    assert normalised.std().item() == pytest.approx(1.0, abs=1e-3)
    for _ in range(200):
        vae.normalise(z)
    vae.eval()
    assert torch.allclose(vae.normalise(z[:1]), normalised[:1], atol=1e-2)


def test_counting_takes_no_part_in_a_launch(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    x = torch.empty(2, 3, 4, 4, device="meta")
    gathered, own = all_gather_with_grad(x)
    assert gathered is x and own == slice(None)


def test_channel_normalisation_sees_one_micro_batch_at_a_time():
    norm = LatentNorm(3, "channel")
    norm.num_clips = 2
    z = 5 + 3 * torch.randn(5, 3, 4, 4)
    out = norm(z)
    mean, variance = torch.zeros(3), torch.ones(3)
    for part in z.split(2):
        expected = F.batch_norm(part, mean, variance, training=True)
        assert torch.allclose(out[: len(part)], expected, atol=1e-6)
        out = out[len(part) :]
    assert torch.allclose(norm.batch.running_mean, mean)
    assert torch.allclose(norm.batch.running_var, variance)


def test_diffusion_scaling_inverts():
    vae = small_vae()
    vae.set_latent_statistics(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.1, 3.0]))
    z_m = torch.randn(4, *vae.latent_shape)
    assert torch.allclose(vae.from_diffusion(vae.to_diffusion(z_m)), z_m, atol=1e-6)


def test_temporal_upsampling_interpolates_as_torch_does_when_the_offset_is_zero():
    up = TemporalUpsample(4)
    torch.nn.init.zeros_(up.offset.weight)
    torch.nn.init.zeros_(up.offset.bias)
    h = torch.randn(2, 4, 5, 3, 3)
    expected = torch.nn.functional.interpolate(
        h, scale_factor=(2, 1, 1), mode="trilinear", align_corners=False
    )
    assert torch.allclose(up(h), expected, atol=1e-6)


@pytest.mark.parametrize("condition", ["cross_attention", "concat", "both", "none"])
def test_the_denoiser_uses_its_condition_and_step(condition):
    dmg = small_dmg(condition).eval()
    wake(dmg)
    z_t, f_x0, t = torch.randn(2, 3, 8, 8), torch.randn(2, 16, 8, 8), torch.tensor([3, 700])
    eps_hat = dmg(z_t, t, f_x0)
    assert eps_hat.shape == z_t.shape
    changed = not torch.equal(eps_hat, dmg(z_t, t, f_x0.flip(0)))
    assert changed == (condition != "none")
    assert not torch.equal(eps_hat, dmg(z_t, t + 100, f_x0))


@pytest.mark.parametrize("channels", [8, 16, 32, 48, 64])
@pytest.mark.parametrize("kind", [None, "full"])
def test_the_norm_leaves_the_step_embedding_in(kind, channels):
    torch.manual_seed(0)
    layer = ResBlock(channels, channels, kind, 4)
    wake(layer)
    h = torch.randn(1, channels, *(3,) * (layer.conv1.weight.ndim - 2))
    one, other = (layer(h, torch.full((1, 4), value)) for value in (-2.0, 2.0))
    assert (one - other).abs().mean() > 1e-2


@torch.no_grad()
def test_the_mean_of_the_pixel_denoiser_follows_the_brightness_of_its_clip():
    # With one channel a group in the last norm, the mean moves by 0.2.
    target, moves = load_target("table_bair", "quick"), []
    for seed in range(4):
        torch.manual_seed(seed)
        denoiser = build_denoiser(target, "pixel").eval()
        nn.init.normal_(denoiser.to_eps.weight, std=0.1)  # its output then has unit scale
        x_t, t, x0 = torch.randn(1, 4, 3, 32, 32), torch.tensor([500]), torch.zeros(1, 3, 32, 32)
        dark, bright = (denoiser(x_t + level, t, x0) for level in (-1.0, 1.0))
        moves.append((bright - dark).mean(dim=(1, 3, 4)))
    assert torch.stack(moves).square().mean().sqrt() > 0.5


def test_spade_is_adaptive_in_space_and_add_is_not():
    # Twice the motion feature changes `add` by the same everywhere; `spade` scales it by content.
    torch.manual_seed(0)
    h, content = torch.randn(1, 8, 4, 6, 6), torch.randn(1, 8, 6, 6)
    step = torch.randn_like(h)
    for kind, adaptive in (("add", False), ("spade", True)):
        fusion = Fusion(8, 8, kind)
        moved = [fusion(h + step, c) - fusion(h, c) for c in (content, content.flip(-1))]
        assert torch.allclose(*moved, atol=1e-5) != adaptive


@pytest.mark.parametrize("fusion", ["spade", "add"])
def test_bf16_outputs_are_those_of_fp32_to_its_precision(fusion):
    vae = small_vae(fusion=fusion, first_frame_residual="warp").eval()
    wake(vae)
    x, eps = torch.rand(2, *vae.clip_shape) * 2 - 1, torch.zeros(2, *vae.latent_shape)
    with torch.no_grad():
        full = vae(x, eps).x_hat
        with torch.autocast("cpu", torch.bfloat16):
            half = vae(x, eps).x_hat
    assert (half - full).abs().mean() < 0.03 * full.std()


def test_gradients_of_the_denoiser_are_finite_in_bf16():
    dmg = small_dmg()
    wake(dmg)
    with torch.autocast("cpu", torch.bfloat16):
        eps_hat = dmg(torch.randn(2, 3, 8, 8), torch.tensor([3, 700]), torch.randn(2, 16, 8, 8))
    eps_hat.float().square().mean().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in dmg.parameters())


@pytest.mark.parametrize("axes", ["instance", "layer"])
@pytest.mark.parametrize("kept", [1, 2])
def test_samples_get_the_norm_that_each_training_latent_had(axes, kept):
    vae = small_vae(normalisation=axes, temporal_downsampling=8 // kept).eval()
    vae.set_latent_statistics(torch.tensor([0.1, -0.2, 0.0]), torch.tensor([0.9, 1.1, 1.0]))
    z_m = vae.normalise(torch.randn(4, *vae.latent_shape) * 3 + 1)
    restored = vae.from_diffusion(vae.to_diffusion(z_m))
    assert torch.allclose(restored, z_m, atol=1e-4)  # a training latent is left alone
    sample = vae.from_diffusion(1.3 * torch.randn(4, *vae.latent_shape) + 0.4)
    over = tuple(range(2 if axes == "instance" else 1, sample.ndim))
    assert sample.mean(over).abs().max() < 1e-5
    assert torch.allclose(sample.var(over, unbiased=False), torch.ones(()), atol=1e-3)


@pytest.mark.parametrize("channels", [8, 320])
def test_the_step_embedding_agrees_with_diffusers(channels):
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0, 1, 37, 500, 999])
    theirs = get_timestep_embedding(t, channels, flip_sin_to_cos=True, downscale_freq_shift=0)
    # angles of up to 999 in float32
    torch.testing.assert_close(sinusoidal_embedding(t, channels), theirs, atol=2e-4, rtol=0)


@torch.no_grad()
def test_self_attention_agrees_with_torch():
    torch.manual_seed(0)
    ours, theirs = Attention(24, 8), nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.in_proj_weight.copy_(torch.cat([ours.to_q.weight, ours.to_k.weight, ours.to_v.weight]))
    theirs.out_proj.load_state_dict(ours.to_out.state_dict())
    h = torch.randn(2, 5, 24)
    torch.testing.assert_close(ours(h), theirs(h, h, h)[0])


@torch.no_grad()
def test_cross_attention_agrees_with_torch():
    torch.manual_seed(0)
    ours = Attention(24, 8, 10)
    theirs = nn.MultiheadAttention(24, 3, kdim=10, vdim=10, batch_first=True)
    for name in "qkv":
        getattr(theirs, f"{name}_proj_weight").copy_(getattr(ours, f"to_{name}").weight)
    theirs.out_proj.load_state_dict(ours.to_out.state_dict())
    h, source, positions = torch.randn(2, 5, 24), torch.randn(2, 7, 10), torch.randn(5, 24)
    out = ours(h, Context(*ours.keys_values(source), positions))
    torch.testing.assert_close(out, theirs(h + positions, source, source)[0])


@torch.no_grad()
def test_the_feed_forward_agrees_with_diffusers():
    from diffusers.models.attention import FeedForward as TheirFeedForward

    torch.manual_seed(0)
    ours, theirs = FeedForward(12), TheirFeedForward(12, activation_fn="geglu")
    theirs.net[0].proj.load_state_dict(ours.project.state_dict())
    theirs.net[2].load_state_dict(ours.out.state_dict())
    h = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(h), theirs(h))


def test_cross_attention_knows_where_a_content_cell_lies():
    dmg = small_dmg("cross_attention").eval()
    wake(dmg)
    z_t, f_x0, t = torch.randn(1, 3, 8, 8), torch.randn(1, 16, 8, 8), torch.tensor([500])
    assert not torch.allclose(dmg(z_t, t, f_x0), dmg(z_t, t, f_x0.flip(-1)), atol=1e-4)


@torch.no_grad()
def test_queries_of_equal_features_differ_by_position_and_look_where_f_x0_lies():
    torch.manual_seed(0)
    layer = SpatialTransformer(16, 8, 16, factor=2)
    wake(layer)
    same = torch.ones(1, 16, 4, 4)
    out = layer(same, layer.context(torch.randn(1, 64, 16), (8, 8))).flatten(2)
    assert (out - out[..., :1]).abs().amax(dim=(0, 1))[1:].min() > 1e-3
    # the centre of each coarse cell lies between those of the four cells that it covers
    (coarse,) = grid_embedding((1, 1), 8, same.device, 2)
    between = sinusoidal_embedding(torch.tensor([0.5]), 8, 100.0)[0]
    torch.testing.assert_close(coarse, torch.cat([between, between]))


def test_no_norm_of_the_denoiser_trains_on_a_channels_last_input_without_gradient():
    def look(norm, inputs):
        seen.append(inputs[0].requires_grad or inputs[0].is_contiguous())

    dmg, seen = small_dmg("both"), []
    for module in dmg.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(look)
    f_x0 = torch.randn(2, 16, 8, 8).to(memory_format=torch.channels_last)
    dmg(torch.randn(2, 3, 8, 8), torch.tensor([3, 700]), f_x0)
    assert len(seen) > 2 and all(seen)


def test_gradient_reaches_every_parameter():
    dmg, vae = small_dmg(), small_vae()
    wake(dmg), wake(vae)
    dmg(
        torch.randn(2, 3, 8, 8), torch.tensor([3, 700]), torch.randn(2, 16, 8, 8)
    ).square().sum().backward()
    out = vae(torch.rand(2, *vae.clip_shape), torch.randn(2, *vae.latent_shape))
    (out.x_hat.square().sum() + out.posterior.kl("sum")).backward()
    for module in (dmg, vae):
        silent = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
        assert silent == []


def test_dmg_has_the_parameters_and_flops_of_the_unet_of_diffusers():
    from diffusers import UNet2DConditionModel

    target = load_target("table_bair", "paper")
    config, channels = target.dmg, [target.dmg.base_channels * m for m in (1, 2, 3, 4)]
    assert list(config.channel_multipliers) == [1, 2, 3, 4]
    levels = [2**level in config.attention_factors for level in range(4)]
    with torch.device("meta"):
        ours = build_dmg(target).eval()
        theirs = UNet2DConditionModel(
            in_channels=3,
            out_channels=3,
            block_out_channels=channels,
            layers_per_block=config.num_res_blocks,
            down_block_types=["CrossAttnDownBlock2D" if at else "DownBlock2D" for at in levels],
            up_block_types=["CrossAttnUpBlock2D" if at else "UpBlock2D" for at in levels[::-1]],
            cross_attention_dim=config.context_channels,
            attention_head_dim=[c // config.head_channels for c in channels],
        ).eval()
        z, t = torch.randn(1, 3, 16, 16), torch.full((1,), 500)
        tokens = ours.tokens(torch.randn(1, target.vae.image_channels[-1], 16, 16))
        runs = (
            lambda: ours.predict(z, t, ours.contexts(tokens, z.shape[-2:])),
            lambda: theirs(z, t, tokens).sample,
        )
        flops = []
        for run in runs:
            with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                run()
            flops.append(counter.get_total_flops())
    sizes = [sum(p.numel() for p in network.parameters()) for network in (ours, theirs)]
    assert sizes[0] - sum(p.numel() for p in ours.tokens.parameters()) == sizes[1]
    assert flops[0] == flops[1]


def test_the_discriminator_scores_patches():
    gan = GANConfig.model_construct(base_channels=8, num_layers=3)
    logits = VideoDiscriminator(gan)(torch.zeros(2, 16, 3, 32, 32))
    assert logits.shape == (2, 1, 4, 4, 4)
    assert math.isfinite(logits.sum().item())


def test_a_discriminator_of_differences_sees_only_what_changes():
    options = {"base_channels": 8, "num_layers": 3}
    x, still = torch.rand(2, 16, 3, 32, 32), torch.rand(2, 1, 3, 32, 32)
    for kind, same in (("clip", False), ("differences", True)):
        judge = VideoDiscriminator(GANConfig.model_construct(input=kind, **options))
        assert torch.allclose(judge(x), judge(x + still), atol=1e-4) is same


def test_warp_looks_up_where_the_flow_points():
    x0 = torch.rand(2, 3, 16, 16)
    flow = torch.zeros(2, 4, 2, 16, 16)
    flow[:, 1, 0] = 3.0  # sixteenths of 16 pixels, to the right
    flow[:, 2, 1] = -2.0
    flow[:, 3, 0] = 0.5
    still, right, up, between = warp(x0, flow).unbind(1)
    torch.testing.assert_close(still, x0)
    torch.testing.assert_close(right[..., :-3], x0[..., 3:])
    torch.testing.assert_close(right[..., -3:], x0[..., -1:].expand(-1, -1, -1, 3))
    torch.testing.assert_close(up[:, :, 2:], x0[:, :, :-2])
    torch.testing.assert_close(between[..., :-1], (x0[..., 1:] + x0[..., :-1]) / 2)


def test_warp_looks_up_exactly_in_mixed_precision():
    x0 = torch.rand(1, 3, 48, 48)
    with torch.autocast("cpu", torch.bfloat16):
        still = warp(x0, torch.zeros(1, 1, 2, 48, 48))
    torch.testing.assert_close(still[:, 0], x0)


@pytest.mark.parametrize("residual", ["none", "add", "warp", "compose"])
def test_every_flow_of_moved_skips_is_trained(residual):
    vae = small_vae(first_frame_residual=residual, moved_skips=True, num_skip_scales=1)
    wake(vae)
    x = torch.rand(2, *vae.clip_shape)
    vae(x, torch.randn(2, *vae.latent_shape)).x_hat.square().sum().backward()
    flows = vae.video_decoder.flows
    assert len(flows) and all(p.grad.any() for p in flows.parameters())


@pytest.mark.parametrize(("residual", "kept"), [("warp", 1.0), ("compose", 0.8808)])
def test_a_decoder_that_carries_begins_with_the_given_frame(residual, kept):
    vae = small_vae(first_frame_residual=residual)
    x = torch.rand(2, *vae.clip_shape)
    nn.init.zeros_(vae.last_layer[:3])
    nn.init.zeros_(vae.video_decoder.to_rgb.bias[:3])
    x_hat = vae(x, torch.zeros(2, *vae.latent_shape)).x_hat
    torch.testing.assert_close(x_hat, kept * x[:, :1].expand_as(x), atol=1e-4, rtol=0)


def test_composing_moves_and_erases_the_given_frame():
    vae = small_vae(first_frame_residual="compose")
    x, last = torch.rand(2, *vae.clip_shape), vae.video_decoder.to_rgb
    nn.init.zeros_(last.weight)
    pixel = 16 / vae.clip_shape[-1]
    quarter = -math.log(3)  # of x_0 is kept
    last.bias.data = torch.tensor([0.1, 0.2, 0.3, pixel, 0.0, quarter])  # RGB, flow, share
    x_hat = vae(x, torch.zeros(2, *vae.latent_shape)).x_hat
    right = x[:, :1, :, :, 1:].expand(*x.shape[:4], -1)
    expected = right / 4 + torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    torch.testing.assert_close(x_hat[..., :-1], expected)


@pytest.mark.parametrize("option", ["moved_skips", "copy_attention"])
def test_an_addition_to_the_decoder_changes_nothing_before_it_learns(option):
    vae = small_vae(**{option: True})
    x, eps = torch.rand(2, *vae.clip_shape), torch.zeros(2, *vae.latent_shape)
    x_hat = vae(x, eps).x_hat
    decoder = vae.video_decoder
    own = decoder.copy.outs if option == "copy_attention" else decoder.flows
    for parameter in own.parameters():
        nn.init.normal_(parameter)
    assert not torch.allclose(vae(x, eps).x_hat, x_hat, atol=1e-3)
    decoder.copy, decoder.flows = None, nn.ModuleList()
    torch.testing.assert_close(vae(x, eps).x_hat, x_hat)


def test_skips_move_along_the_flow_of_their_scale():
    vae = small_vae(first_frame_residual="none", moved_skips=True, fusion="add").eval()
    decoder, (f_x0, skips) = vae.video_decoder, vae.encode_image(torch.rand(1, 3, 16, 16))
    coarse, fine = decoder.flows
    seen = []
    for fusion in decoder.fusions:
        fusion.register_forward_hook(lambda _, inputs, __: seen.append(inputs[2]))
    coarse.bias.data = torch.tensor([1.0, 0.0])
    fine.bias.data = torch.tensor([0.5, -2.0])
    vae.decode(torch.randn(1, *vae.latent_shape), f_x0, skips)
    for flow, skip, there in zip(seen, skips[::-1], [(1.0, 0.0), (1.5, -2.0)], strict=True):
        assert flow.shape[-2:] == skip.shape[-2:]
        torch.testing.assert_close(flow, torch.tensor(there)[:, None, None].expand_as(flow))


def test_copy_attention_gathers_each_cell_s_part_of_the_skips(monkeypatch):
    vae, length = small_vae(copy_attention=True), 2
    copy, (f_x0, skips) = vae.video_decoder.copy, vae.encode_image(torch.rand(1, 3, 16, 16))
    for out in copy.outs:
        nn.init.dirac_(out.weight)
    h = torch.zeros(1, copy.query.in_channels, length, *f_x0.shape[-2:])
    # each cell of each frame attends to itself
    own = "lamd.nn.attend"
    monkeypatch.setattr(own, lambda q, k, v: v.repeat(1, 1, length, 1))
    copied, finer = copy(h, f_x0, skips)
    contents = [f_x0, *skips[::-1]]
    for value, content, result in zip(copy.values, contents, [copied, *finer[::-1]], strict=True):
        for frame in result.unbind(2):
            torch.testing.assert_close(frame, value(content))


def test_copy_attention_without_features_looks_at_its_own_place(monkeypatch):
    vae, scores = small_vae(copy_attention=True), []
    copy, (f_x0, skips) = vae.video_decoder.copy, vae.encode_image(torch.rand(1, 3, 16, 16))
    for part in (copy.query, copy.key):
        for parameter in part.parameters():
            nn.init.zeros_(parameter)

    def attend(q, k, v):
        scores.append(q @ k.mT)
        return v.repeat(1, 1, 2, 1)

    monkeypatch.setattr("lamd.nn.attend", attend)
    copy(torch.zeros(1, copy.query.in_channels, 2, *f_x0.shape[-2:]), f_x0, skips)
    cells = f_x0.shape[-2] * f_x0.shape[-1]
    assert scores[0].argmax(-1).flatten().tolist() == [*range(cells)] * 2


def test_a_posterior_s_log_variance_is_bounded():
    vae = small_vae()
    x, bias = torch.rand(1, *vae.clip_shape), vae.motion_encoder.to_posterior.bias
    for far, bound in ((1e4, 20.0), (-1e4, -30.0)):
        nn.init.constant_(bias, far)
        assert (vae.encode(x).logvar == bound).all()


def test_dmg_compiles_without_graph_breaks():
    dmg = small_dmg("both", num_latent_frames=4).eval()
    wake(dmg)
    z_t = torch.randn(2, 3, 4, 8, 8)
    same_when_compiled(dmg, z_t, torch.tensor([3, 700]), torch.randn(2, 16, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("conv3d", ["full", "factorised"])
def test_unet3d_compiles_without_graph_breaks(conv3d):
    unet = small_unet3d(conv3d).eval()
    wake(unet)
    z_t, y = torch.randn(2, 3, 6, 8, 8), torch.randn(2, 3, 8, 8)
    same_when_compiled(unet, z_t, torch.tensor([3, 700]), y)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"first_frame_residual": "none"},
        {"first_frame_residual": "warp"},
        {"first_frame_residual": "compose", "moved_skips": True, "copy_attention": True},
    ],
)
def test_video_decoder_compiles_without_graph_breaks(options):
    vae = small_vae(temporal_downsampling=2, **options).eval()
    wake(vae)
    f_x0, skips = vae.encode_image(torch.rand(2, 3, 16, 16))
    same_when_compiled(vae.video_decoder, torch.randn(2, *vae.latent_shape), f_x0, skips)


@torch.inference_mode()
def same_when_compiled(network, *inputs):
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), network(*inputs), rtol=0, atol=0)
