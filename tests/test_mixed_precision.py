"""bf16 in training on a CPU: used where it is right and faster, else fp32, which the log says."""

import json
from types import SimpleNamespace

import pytest
import torch
from tiny import TinyVideos, tiny_target
from torch import nn

from lamd import machine
from lamd.base import origin
from lamd.forecast.bench import profile_stage
from lamd.forecast.step import noise_stage
from lamd.nn import Attention, FullConv
from lamd.training import engine, train
from lamd.training.precision import bf16_problem

STAGES = ("vae", "dmg", "pixel", "video_vae", "latent_video")
ROWS = "rows=[lamd, pixel_clips, latent_video_clips]"


def passes(conv, x, dtype, seed=0):
    """Return output and gradients, float32, of a convolution under autocast to `dtype`."""
    x = x.clone().requires_grad_()
    conv.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out = conv(x)
    generator = torch.Generator().manual_seed(seed)
    out.backward(torch.randn(out.shape, generator=generator).to(out.dtype))
    return [value.float() for value in (out.detach(), x.grad, conv.weight.grad, conv.bias.grad)]


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_full_convolution_in_bf16_has_the_gradients_of_conv3d(frames, stride):
    torch.manual_seed(0)
    x, ours = torch.randn(2, 6, frames, 8, 8), FullConv(6, 32, (1, stride, stride))
    theirs = nn.Conv3d(6, 32, 3, stride=(1, stride, stride), padding=1)
    theirs.load_state_dict(ours.state_dict())
    pairs = zip(passes(ours, x, torch.bfloat16), passes(theirs, x, torch.float32), strict=True)
    for half, exact in pairs:
        assert (half - exact).norm() < 0.01 * exact.norm()


def test_attention_under_autocast_computes_as_without():
    torch.manual_seed(0)
    attention, h = Attention(16, 8), torch.randn(2, 9, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = attention(h)
    assert half.dtype == torch.bfloat16
    assert (half - attention(h)).norm() < 0.02 * half.float().norm()


def test_rates_of_fp32_and_bf16_are_measured_with_their_error():
    rates = machine.rates()
    assert [rate.operator for rate in rates[::2]] == list(machine._OPERATORS)
    assert all(rate.tflops > 0 for rate in rates)
    assert all(rate.error == 0 for rate in rates[::2])
    assert all(0 < rate.error < 1 for rate in rates[1::2])


@pytest.mark.parametrize(
    ("speed", "error", "expected"), [(2.0, 0.003, True), (0.3, 0.003, False), (2.0, 0.9, False)]
)
def test_bf16_is_used_where_it_is_right_and_faster(speed, error, expected, monkeypatch):
    rates = [
        machine.Rate(name, dtype, speed if half else 1.0, error if half else 0.0)
        for name in machine._OPERATORS
        for half, dtype in enumerate((torch.float32, torch.bfloat16))
    ]
    monkeypatch.setattr(machine, "rates", lambda device: rates)
    assert machine.bf16_is_faster() == expected


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_that_only_emulates_bf16_trains_in_fp32(supported, monkeypatch):
    def supports(including_emulation=True):
        return supported or including_emulation

    def accelerator(device, precision):
        alike = SimpleNamespace(device=torch.device("cuda"), precision=precision)
        return alike

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supports)
    monkeypatch.setattr(engine, "make_accelerator", accelerator)
    monkeypatch.setattr(engine, "_all", lambda _, flag: flag)
    stage = noise_stage("vae", tiny_target("train_vae.precision=bf16"))
    run = SimpleNamespace(stage=stage, train=stage.train, run_id="", note=None)
    used = engine._Run._accelerator(run, "cuda").precision
    assert used == stage.precision == ("bf16" if supported else "fp32")
    slow = "vae: precision fp32: bf16 is not faster than fp32 on the GPU of every process"
    assert run.note == (None if supported else slow)


@pytest.mark.parametrize("name", STAGES)
def test_bf16_is_right_for_every_stage_and_leaves_it_as_it_was(name):
    stage = noise_stage(name, tiny_target(ROWS))
    before = {k: v.clone() for k, v in stage.model.state_dict().items()}
    modes = [module.training for module in stage.model.modules()]
    model, adversary, precision = stage.model, stage.adversary, stage.precision
    assert bf16_problem(stage) is None
    assert (stage.model, stage.adversary, stage.precision) == (model, adversary, precision)
    assert all(torch.equal(v, before[k]) for k, v in stage.model.state_dict().items())
    assert [module.training for module in stage.model.modules()] == modes
    assert all(p.grad is None for p in stage.model.parameters())


def test_a_wrong_gradient_is_found_behind_weights_that_start_at_zero(monkeypatch):
    stage = noise_stage("dmg", tiny_target())
    block = stage.model.middle.residual
    assert not block.conv2.weight.any()
    kind, block.conv1.is_wrong = type(block.conv1), True
    forward = kind.forward

    def wrong(self, h):
        out = forward(self, h)
        half = torch.is_autocast_enabled("cpu") and getattr(self, "is_wrong", False)
        return out.flip(1) if half else out

    monkeypatch.setattr(kind, "forward", wrong)
    assert "computes the bf16 gradient of DMG." in bf16_problem(stage)


@pytest.mark.parametrize("faster", [True, False])
def test_training_in_bf16_falls_back_to_fp32_and_says_so(faster, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(machine, "bf16_is_faster", lambda device="cpu": faster)
    target = tiny_target("train_vae.precision=bf16", "train_vae.num_steps=4", "loss.gan=null",
                         "train_vae.validate_every=4", "train_vae.warmup_steps=1")  # fmt: skip
    folder = train("vae", target, TinyVideos(), tmp_path / "bf16", run_id="a", device="cpu")
    assert origin.current_origin("cpu").path["dtype"] == ("bf16" if faster else "fp32")
    said = "vae: precision fp32: bf16 is not faster than fp32 on the CPU of every process"
    assert (said in capsys.readouterr().err) != faster
    exact = target.model_copy(
        update={"train_vae": target.train_vae.model_copy(update={"precision": "fp32"})}
    )
    other = train("vae", exact, TinyVideos(), tmp_path / "fp32", run_id="a", device="cpu")
    logs = [
        [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
        for path in (folder, other)
    ]
    losses = [[record["loss"] for record in log if record["group"] == "train"] for log in logs]
    assert (losses[0] == losses[1]) != faster
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_resumed_training_keeps_its_precision(monkeypatch, tmp_path, capsys):
    target = tiny_target("train_vae.precision=bf16", "train_vae.num_steps=4", "loss.gan=null",
                         "train_vae.checkpoint_every=2", "train_vae.validate_every=4",
                         "train_vae.warmup_steps=1")  # fmt: skip

    def weights(name, *fast):
        for steps, faster in zip((4,) if len(fast) == 1 else (2, 4), fast, strict=True):
            monkeypatch.setattr(machine, "bf16_is_faster", lambda device="cpu", f=faster: f)
            folder = train("vae", target, TinyVideos(), tmp_path / name, run_id="a", device="cpu",
                           max_steps=steps)  # fmt: skip
        return (folder / "model.safetensors").read_bytes()

    assert weights("bf16", True) == weights("bf16, then slow", True, False)
    assert "precision bf16, as in its checkpoints, though bf16 is not" in capsys.readouterr().err
    exact = weights("fp32", False)
    capsys.readouterr()
    assert exact == weights("fp32, then fast", False, True) != weights("bf16", True)
    assert "vae: precision fp32: its checkpoints are of fp32" in capsys.readouterr().err


def test_profile_of_a_stage_adds_up():
    found = profile_stage("dmg", tiny_target(), "cpu")
    *operators, lpips, reading = found.shares.values()
    assert sum(operators) == pytest.approx(1, abs=0.01)
    assert found.shares["convolutions"] > 0.05 and lpips == 0 < reading
    assert 0 < found.tflops < found.product
    assert found.row()[:2] == ["dmg", "fp32"]
