"""The baselines: shapes, what depends on what, and the skeleton that they share with the DMG."""

import pytest
import torch
from small import UNET_WIDTHS, small_dmg, small_unet3d, wake

from lamd.config import VideoAutoencoderConfig
from lamd.config.networks import UNetWidths
from lamd.diffusion import make_schedule, sample, sampling_steps
from lamd.losses import diffusion_loss
from lamd.models.baselines import PixelDiffusion, VideoAutoencoder
from lamd.nn import TemporalConv
from lamd.paradigms.latent_video import LatentVideo

SCHEDULE = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)


def small_autoencoder(**changes) -> VideoAutoencoder:
    torch.manual_seed(0)
    options = {
        "spatial_downsampling": 4,
        "temporal_downsampling": 4,
        "latent_channels": 2,
        "channels": (8, 16),
        "num_res_blocks": 1,
        "conv3d": "full",
    }
    config = VideoAutoencoderConfig(**(options | changes))
    return VideoAutoencoder(config, num_frames=8, size=16)


def silent(module: torch.nn.Module) -> list[str]:
    return [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("conv3d", ["full", "factorised"])
def test_the_3d_denoiser_uses_its_condition_its_step_and_all_frames(conv3d):
    unet = small_unet3d(conv3d).eval()
    wake(unet)
    z_t, given, t = torch.randn(2, 3, 6, 8, 8), torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    eps_hat = unet(z_t, t, given)
    assert eps_hat.shape == z_t.shape
    assert not torch.equal(eps_hat, unet(z_t, t, given.flip(0)))
    assert not torch.equal(eps_hat, unet(z_t, t + 100, given))
    other = z_t.clone()
    other[:, :, -1] += 1
    assert not torch.allclose(eps_hat[:, :, 0], unet(other, t, given)[:, :, 0], atol=1e-6)


def test_temporal_attention_depends_on_the_order_of_frames():
    unet = small_unet3d("factorised").eval()
    wake(unet)
    for parameter in unet.parameters():
        if parameter.shape[2:] == (3, 1, 1):  # convolutions that see no other frame
            parameter.data[:, :, [0, 2]] = 0
    z_t, given, t = torch.randn(1, 3, 6, 8, 8), torch.randn(1, 3, 8, 8), torch.tensor([500])
    backward = unet(z_t.flip(2), t, given).flip(2)
    assert not torch.allclose(unet(z_t, t, given), backward, atol=1e-4)


def test_the_temporal_convolution_is_the_3d_one():
    conv = TemporalConv(3, 5, (3, 1, 1), padding=(1, 0, 0)).double()
    h = torch.randn(2, 3, 6, 4, 7, dtype=torch.float64)
    expected = torch.nn.functional.conv3d(h, conv.weight, conv.bias, padding=(1, 0, 0))
    assert torch.allclose(conv(h), expected, rtol=1e-12, atol=1e-12)


def test_one_frame_through_the_3d_skeleton_is_the_2d_one():
    dmg = small_dmg("none").eval()
    wake(dmg)
    unet = small_unet3d("full", attention_factors=(1, 2)).eval()
    theirs = unet.state_dict()
    for name, value in dmg.state_dict().items():
        name = name.replace("attention.", "attention.space.", 1)
        if value.ndim == theirs[name].ndim:
            theirs[name].copy_(value)
        else:  # 2-D taps in the middle of the 3-D ones; the given frame's channels are not used
            middle = theirs[name].shape[2] // 2
            theirs[name].zero_()
            theirs[name][:, : value.shape[1], middle] = value
    z_t, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    eps_hat = unet(z_t[:, :, None], t, torch.randn(2, 3, 8, 8))[:, :, 0]
    assert torch.allclose(eps_hat, dmg(z_t, t, torch.randn(2, 16, 8, 8)), atol=1e-5)


@pytest.mark.parametrize("conv3d", ["full", "factorised"])
def test_gradient_reaches_every_parameter(conv3d):
    unet, autoencoder = small_unet3d(conv3d), small_autoencoder(conv3d=conv3d)
    wake(unet), wake(autoencoder)
    z_t, given = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3, 8, 8)
    unet(z_t, torch.tensor([3, 700]), given).square().sum().backward()
    x = torch.rand(2, *autoencoder.clip_shape) * 2 - 1
    out = autoencoder(x, torch.randn(2, *autoencoder.latent_shape))
    (out.x_hat.square().sum() + out.posterior.kl("sum")).backward()
    assert silent(unet) == silent(autoencoder) == []


@pytest.mark.parametrize("conv3d", ["full", "factorised"])
def test_every_weight_learns_from_a_fresh_start(conv3d):
    # zeros that start a branch as the identity must not hold it there
    unet = small_unet3d(conv3d)
    optimizer = torch.optim.SGD(unet.parameters(), lr=1.0)
    z_t, given, t = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    for _ in range(3):
        optimizer.zero_grad()
        (unet(z_t, t, given) - z_t).square().mean().backward()
        optimizer.step()
    assert silent(unet) == []


def test_pixel_diffusion_trains_and_samples_with_the_shared_schedule():
    torch.manual_seed(0)
    model = PixelDiffusion(UNetWidths(**UNET_WIDTHS), channels=3, conv3d="factorised")
    x = torch.rand(2, 4, 3, 8, 8) * 2 - 1
    t, eps = torch.tensor([300, 800]), torch.randn_like(x)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = diffusion_loss(model, SCHEDULE, x, t, eps, x[:, 0])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    with torch.inference_mode():
        x_hat = sample(
            lambda x_t, t: model(x_t, t, x[:, 0]),
            SCHEDULE,
            torch.randn_like(x),
            steps=sampling_steps(1000, 3),
            name="dpmpp_2m",
            eta=None,
            noise=lambda: None,
        )
    assert x_hat.shape == x.shape and torch.isfinite(x_hat).all()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temporal_downsampling": 1},
        {"spatial_downsampling": 2, "temporal_downsampling": 8, "channels": (8, 8, 16, 16)},
        {"spatial_downsampling": 1, "num_res_blocks": 0},
        {"conv3d": "factorised"},
    ],
)
def test_autoencoder_shapes(changes):
    autoencoder = small_autoencoder(**changes)
    x = torch.rand(2, *autoencoder.clip_shape) * 2 - 1
    out = autoencoder(x, torch.randn(2, *autoencoder.latent_shape))
    assert out.x_hat.shape == x.shape
    assert out.z_m.shape == out.posterior.mean.shape == (2, *autoencoder.latent_shape)
    given = autoencoder.encode_image(x[:, 0])
    assert given.shape == (2, *autoencoder.latent_shape[:1], *autoencoder.latent_shape[2:])
    unet = small_unet3d("full", channels=2)
    z = autoencoder.to_diffusion(out.z_m)
    assert unet(z, torch.tensor([3, 700]), autoencoder.to_diffusion(given)).shape == z.shape


def test_autoencoder_scale_is_a_channel_and_inverts():
    autoencoder = small_autoencoder()
    autoencoder.set_latent_statistics(torch.tensor([1.0, -2.0]), torch.tensor([2.0, 0.5]))
    z = torch.randn(2, *autoencoder.latent_shape)
    scaled = autoencoder.to_diffusion(z)
    assert torch.allclose(scaled[:, 1], (z[:, 1] + 2) / 0.5)
    assert torch.allclose(autoencoder.from_diffusion(scaled), z, atol=1e-6)


def test_autoencoder_refuses_what_it_cannot_shrink():
    with pytest.raises(ValueError, match="not a multiple of f_t"):
        small_autoencoder().encode(torch.zeros(1, 6, 3, 16, 16))
    with pytest.raises(ValueError, match="power of two"):
        small_autoencoder(temporal_downsampling=3)


def test_decoder_sees_the_first_frame_only_with_concat():
    z, x0 = torch.randn(2, 2, 2, 4, 4), torch.rand(2, 3, 16, 16) * 2 - 1
    blind, seeing = (small_autoencoder(first_frame=kind).eval() for kind in ("none", "concat"))
    assert torch.equal(blind.decode(z, x0), blind.decode(z, -x0))
    x_hat = seeing.decode(z, x0)
    assert x_hat.shape == (2, 8, 3, 16, 16)
    for pixel in ((0, 0), (15, 15)):  # at full resolution too, and in every frame
        other = x0.clone()
        other[:, :, *pixel] += 1
        moved = (seeing.decode(z, other) - x_hat).abs().amax(dim=(0, 2))  # (L, H, W)
        assert moved[:, *pixel].min() > 1e-4


def test_the_condition_of_latent_video_is_at_unit_scale():
    autoencoder = small_autoencoder().eval()
    autoencoder.latent_mean.fill_(0.5)
    autoencoder.latent_std.fill_(2.0)
    x0 = torch.rand(2, 3, 16, 16)
    found = LatentVideo(autoencoder, None, None).encode(x0).condition
    torch.testing.assert_close(found, (autoencoder.encode_image(x0) - 0.5) / 2)
