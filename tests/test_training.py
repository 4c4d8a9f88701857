"""The engine, its batches, logs, weight average and latents."""

import json
import math
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from unittest.mock import Mock, call

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import HERE, TinyVideos, tiny_target, train_both

from lamd.base.errors import LamdError
from lamd.base.rng import torch_generator
from lamd.config import TrainConfig
from lamd.generate import keyed_noise
from lamd.io.video import to_model
from lamd.models.latent import Posterior
from lamd.models.mcd_vae import VAEOutput, build_vae
from lamd.paradigms.budget import row_budget
from lamd.paradigms.costs import training_flops
from lamd.paradigms.latent_motion import LatentMotion
from lamd.training import (
    Latents,
    encode_latents,
    engine,
    load_model,
    load_paradigm,
    open_latents,
    train,
    vae_stage,
)
from lamd.training.augment import read_windows
from lamd.training.checkpoint import Expected, checkpoint_path, list_checkpoints, newest_good
from lamd.training.diffusion_stage import DiffusionStage
from lamd.training.engine import _Run, learning_rate_factor, make_accelerator
from lamd.training.muon import MuonAdamW
from lamd.training.networks import read_info
from lamd.training.stages import (
    StepRNG,
    batch_rows,
    read_ahead,
    shared_rows,
    training_windows,
    validation_windows,
)
from lamd.training.vae_stage import VAEStage

GOLDEN = HERE / "golden"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Both stages for 20 steps, GAN from step 4 on, slow enough that rounding stays small."""
    folder = tmp_path_factory.mktemp("run")
    values = ("num_steps=20", "learning_rate=2.0e-4")
    slow = [f"{stage}.{value}" for stage in ("train_vae", "train_dmg") for value in values]
    train_both(tiny_target(*slow, "loss.gan.learning_rate=2.0e-4"), folder)
    return folder


def records(folder: Path, group: str = "train") -> list[dict]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["group"] == group]


# Batches


def test_batches_are_a_pure_function_of_seed_and_step():
    steps = [batch_rows(3, step, 4, 10) for step in (1, 2, 3)]
    assert np.array_equal(batch_rows(3, 2, 4, 10), steps[1])
    assert not np.array_equal(batch_rows(4, 2, 4, 10), steps[1])


def test_each_epoch_visits_every_window_once_in_a_new_order():
    rows = np.concatenate([batch_rows(0, step, 4, 10) for step in range(1, 11)])
    epochs = rows.reshape(4, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_held_out_clips_are_never_trained_on():
    target, videos = tiny_target(), TinyVideos()
    trained = training_windows(videos, target.train_vae, target.data)
    held_out = validation_windows(videos, target.train_vae)
    assert set(trained[:, 0]) == set(range(10))
    assert [tuple(w) for w in held_out] == [(10, 0), (11, 0)]
    assert set(trained[:, 1]) == {0, 2, 4}  # 9 frames, windows of 4, stride 2


def test_a_fraction_limits_the_held_out_clips():
    train = schedule(num_validation_clips=256, validation_fraction=0.05)
    assert [train.num_held_out(count) for count in (43_264, 465, 3)] == [256, 23, 1]
    few = schedule(num_validation_clips=4, validation_fraction=0.1)
    held_out = validation_windows(TinyVideos(), few)
    assert [tuple(w) for w in held_out] == [(11, 0)]
    assert set(training_windows(TinyVideos(), few, tiny_target().data)[:, 0]) == set(range(11))


@pytest.mark.parametrize(
    ("videos", "overrides", "words"),
    [
        (TinyVideos(num_frames=3), [], "data.num_frames: 4 requested, a video has only 3"),
        (TinyVideos(size=24), [], "data.size: 16 requested"),
        (TinyVideos(count=2), [], "none is left to train on"),
    ],
)
def test_data_that_does_not_fit(tmp_path, videos, overrides, words):
    with pytest.raises(LamdError, match=words):
        train("vae", tiny_target(*overrides), videos, tmp_path, run_id="v", device="cpu")


def test_read_ahead_yields_the_batches_of_each_step():
    videos, options = TinyVideos(), tiny_target().train_vae
    windows = training_windows(videos, options, tiny_target().data)

    def read(step: int) -> list[tuple[torch.Tensor]]:
        rows = batch_rows(options.seed, step, options.batch_size, len(windows))
        return [(read_windows(videos, windows[part], 4),) for part in (rows[:2], rows[2:])]

    steps = []
    for step, batches in read_ahead(read, 3, 6, torch.device("cpu")):
        pairs = zip(*map(chain.from_iterable, (batches, read(step))), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
        steps.append(step)
    assert steps == [3, 4, 5, 6]


def test_draws_do_not_depend_on_the_slicing():
    whole = StepRNG(0, "vae", 5, 6, 0, 6)
    parts = [StepRNG(0, "vae", 5, 6, first, 2) for first in (0, 2, 4)]
    draws = (
        lambda rng: rng.normal("eps", (2, 3)),
        lambda rng: rng.strata("t", 100),
        lambda rng: rng.uniform("order", shape=(3,)),
    )
    for draw in draws:
        assert torch.equal(torch.cat([draw(part) for part in parts]), draw(whole))
    assert not torch.equal(whole.normal("a", (2,)), whole.normal("b", (2,)))


def test_a_weighted_loss_is_not_named_like_the_validation_error(tmp_path):
    videos, losses = TinyVideos(), []
    for gamma in ("null", "5.0"):
        target = tiny_target(f"dmg.min_snr={gamma}")
        vae = build_vae(target.vae, target.data).eval()
        windows = training_windows(videos, target.train_dmg, target.data)
        latents = Latents(
            tmp_path, np.zeros((len(windows), 2, *vae.latent_shape), np.float32), windows, ""
        )
        stage = DiffusionStage(LatentMotion, target, target.train_dmg, videos, vae, latents)
        rng = StepRNG(0, "dmg", 1, 4, 0, 4)
        losses.append(stage.terms(stage.model.train(), stage.read(np.arange(4)), rng).losses)
    assert [list(terms) for terms in losses] == [["eps_mse"], ["eps_mse_weighted"]]
    assert losses[1]["eps_mse_weighted"] < losses[0]["eps_mse"]


def test_first_frames_are_encoded_at_the_precision_of_training_and_validated_in_full(tmp_path):
    target, videos, seen = tiny_target("train_dmg.precision=bf16"), TinyVideos(), []
    vae = build_vae(target.vae, target.data).eval()
    vae.image_encoder.stem.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    windows = training_windows(videos, target.train_dmg, target.data)
    posterior = np.zeros((len(windows), 2, *vae.latent_shape), np.float32)
    latents = Latents(tmp_path, posterior, windows, "")
    stage = DiffusionStage(LatentMotion, target, target.train_dmg, videos, vae, latents)
    given = []
    stage.model.register_forward_pre_hook(lambda _, arguments: given.append(arguments[2]))
    stage.terms(stage.model.train(), stage.read(np.arange(4)), StepRNG(0, "dmg", 1, 4, 0, 4))
    stage.validate(stage.model.eval())
    assert seen[0] == torch.bfloat16 and set(seen[1:]) == {torch.float32}
    assert {f_x0.dtype for f_x0 in given} == {torch.float32}


def test_validation_holds_no_more_clips_at_once_than_training(tmp_path):
    videos, errors, sizes = TinyVideos(), [], []
    vae = build_vae(tiny_target().vae, tiny_target().data).eval()
    for most in ("null", "1"):
        target = tiny_target(f"train_dmg.micro_batch_size={most}")
        windows = training_windows(videos, target.train_dmg, target.data)
        posterior = np.zeros((len(windows), 2, *vae.latent_shape), np.float32)
        latents = Latents(tmp_path, posterior, windows, "")
        stage = DiffusionStage(LatentMotion, target, target.train_dmg, videos, vae, latents)
        seen = set[int]()
        stage.model.register_forward_pre_hook(lambda _, given, seen=seen: seen.add(len(given[0])))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for parameter in stage.model.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
        errors.append(stage.validate(stage.model.eval()))
        sizes.append(seen)
    assert sizes == [{4}, {1}]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)


def test_each_stratum_of_t_is_hit_once_in_every_global_batch():
    for step in range(1, 50):
        parts = [StepRNG(0, "dmg", step, 8, first, 2) for first in (0, 2, 4, 6)]
        t = torch.cat([part.strata("t", 1000) for part in parts])
        assert sorted((t * 8 // 1000).tolist()) == list(range(8))
        assert len({int(value) % 125 for value in t}) == 1  # one offset
    assert not torch.equal(t.sort().values, t)


def test_t_of_each_row_is_uniform():
    t = torch.stack([StepRNG(0, "dmg", s, 4, 0, 4).strata("t", 10) for s in range(2000)])
    counts = torch.stack([torch.bincount(row, minlength=10) for row in t.T])
    assert ((counts - 200).abs() < 5 * math.sqrt(2000 * 0.1 * 0.9)).all()


def test_noise_is_drawn_once_for_all_parts_of_a_step(monkeypatch):
    draws = []
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, **kw: draws.append(a) or randn(*a, **kw))
    target = tiny_target("train_vae.micro_batch_size=1")
    stage = VAEStage(target, TinyVideos())
    run = _Run(stage, HERE, "v", "cpu")
    draws.clear()
    run.train_step(1, [stage.read(np.array([row])) for row in range(4)])
    assert len(draws) == 1 and draws[0][0] == 4


# Optimisation


def schedule(**changes) -> TrainConfig:
    return tiny_target().train_vae.model_copy(update=changes)


def test_learning_rate():
    cosine = schedule(num_steps=110, warmup_steps=10)
    rates = [learning_rate_factor(cosine, step) for step in range(1, 111)]
    assert rates[:10] == pytest.approx([step / 11 for step in range(1, 11)])
    assert max(rates) <= 1.0
    assert rates[59] == pytest.approx(0.505)  # half way
    assert rates[-1] == pytest.approx(0.01)
    assert learning_rate_factor(schedule(lr_schedule="constant", warmup_steps=0), 1) == 1.0


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path):
    # Without BatchNorm and the ratio of gradient norms, both of which see parts of the batch.
    # With the hinge, whose terms cancel, rounding grows faster.
    fixed = ["vae.normalisation=layer", "loss.gan.adaptive=false", "loss.gan.loss=bce"]
    losses = []
    for size in ("null", "2", "3"):
        target = tiny_target(*fixed, f"train_vae.micro_batch_size={size}")
        folder = train("vae", target, TinyVideos(), tmp_path / size, run_id="v", device="cpu")
        losses.append([record["loss"] for record in records(folder)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("batch", [24, 25, 96])
@pytest.mark.parametrize("micro", [None, 2, 4, 6])
@pytest.mark.parametrize("processes", [1, 2, 3, 5, 8])
def test_shared_rows_are_the_whole_batch_in_few_parts(batch, micro, processes):
    train = schedule(batch_size=batch, micro_batch_size=micro)
    slices = [shared_rows(train, processes, rank) for rank in range(processes)]
    parts = list(zip(*slices, strict=True))
    assert len(parts) == -(-batch // (processes * (micro or batch)))
    rows = [row for part in parts for own in part for row in range(own.start, own.stop)]
    assert rows == list(range(batch))
    sizes = [[own.stop - own.start for own in part] for part in parts]
    assert all(min(part) >= 1 and max(part) <= min(part) + 1 for part in sizes)
    assert max(map(max, sizes)) <= (micro or batch)
    assert all(part[0].start % (micro or batch) == 0 for part in parts)


def test_more_processes_than_clips_are_refused():
    train = schedule(batch_size=5, micro_batch_size=1)
    with pytest.raises(LamdError, match="batch_size: 4 processes cannot share 2 clips"):
        shared_rows(train, 4, 0)


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [("tpu", "fp32", "device 'tpu'"), ("cpu", "fp16", "fp16 needs a GPU")],
)
def test_devices_and_precisions_that_are_not_to_be_had(device, precision, words):
    with pytest.raises(LamdError, match=words):
        make_accelerator(device, precision)


def test_a_numbered_gpu_is_trained_on(monkeypatch):
    chosen = Mock()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen)
    monkeypatch.setattr(engine, "Accelerator", Mock())
    make_accelerator("cuda:1", "bf16")
    make_accelerator("cuda", "bf16")
    assert chosen.call_args_list == [call(1)]


# The loop


@pytest.mark.parametrize("stage", ["vae", "dmg"])
def test_golden_losses(run, stage):
    path = GOLDEN / f"loss_{stage}.txt"
    losses = [record["loss"] for record in records(run / stage)]
    if os.environ.get("LAMD_REWRITE_GOLDEN"):
        path.write_text("".join(f"{loss:.7f}\n" for loss in losses))
    assert len(losses) == 20
    # Another number of threads moves them by 1e-3: the adaptive GAN weight amplifies rounding.
    assert losses == pytest.approx(np.loadtxt(path).tolist(), rel=3e-3)


def test_log_names_each_term_from_the_step_it_starts(run):
    first, fourth = records(run / "vae")[0], records(run / "vae")[3]
    assert {"loss", "l1", "kl", "lr", "grad_norm", "clips_per_s", "seconds"} <= first.keys()
    assert not {"gan", "adversary"} & first.keys()
    assert {"gan", "gan_weight", "adversary", "adversary_grad_norm"} <= fourth.keys()
    assert {"accuracy_real", "accuracy_fake"} <= fourth.keys()
    assert first["loss"] == pytest.approx(first["l1"] + first["kl"])
    assert fourth["loss"] == pytest.approx(fourth["l1"] + fourth["kl"] + fourth["gan"])
    held_out = records(run / "vae", "validation")
    assert [record["step"] for record in held_out] == [5, 10, 15, 20]
    assert {"psnr", "l1", "l1_lpips"} <= held_out[0].keys()


def test_tensorboard_reads_the_events(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "dmg"))
    events.Reload()
    logged = {event.step: event.value for event in events.Scalars("train/loss")}
    assert logged == pytest.approx({r["step"]: r["loss"] for r in records(run / "dmg")})


def test_checkpoints_kept_are_the_last_ones_and_the_best(run):
    held_out = records(run / "vae", "validation")
    best = min(held_out, key=lambda record: record["l1_lpips"])["step"]
    kept = {int(path.name.removeprefix("step_")) for path in list_checkpoints(run / "vae")}
    assert kept == {15, 20, best}


def test_early_stopping_keeps_the_best_model_and_survives_a_stop(tmp_path, monkeypatch):
    target = tiny_target(
        "loss.gan=null",
        "baselines=null",
        "train_vae.validate_every=1",
        "train_vae.early_stopping={patience: 2}",
    )
    for name, stops in (("once", [None]), ("twice", [4, None]), ("at the end", [5, None])):
        values = [{"l1_lpips": loss} for loss in (5.0, 4.0, 3.0, 3.5, 3.0, 1.0)]
        monkeypatch.setattr(VAEStage, "validate", Mock(side_effect=values))
        for steps in stops:
            folder = train(
                "vae", target, TinyVideos(), tmp_path / name,
                run_id="v", device="cpu", max_steps=steps,
            )  # fmt: skip
        assert [record["step"] for record in records(folder)] == [1, 2, 3, 4, 5]
        info = read_info(folder, stage="vae")
        assert (info.step, info.validation) == (3, {"l1_lpips": 3.0})
        best = load_file(folder / "checkpoints" / "step_00000003" / "weights.safetensors")
        for key, tensor in load_model(folder, "vae").state_dict().items():
            if key not in ("latent_mean", "latent_std"):
                assert torch.equal(tensor, best[f"ema.{key}"]), key


def test_the_final_model_is_the_average_of_the_weights(run):
    for stage in ("vae", "dmg"):
        last = load_file(list_checkpoints(run / stage)[0] / "weights.safetensors")
        state = load_model(run / stage, stage).state_dict()
        own = [key for key in state if key not in ("latent_mean", "latent_std")]
        assert all(torch.equal(state[key], last[f"ema.{key}"]) for key in own)
        assert any(not torch.equal(state[key], last[f"model.{key}"]) for key in own)


def test_damaged_best_checkpoint_says_what_to_delete(tmp_path, monkeypatch):
    target = tiny_target(
        "loss.gan=null",
        "baselines=null",
        "train_vae.validate_every=1",
        "train_vae.early_stopping={patience: 2}",
    )
    values = [{"l1_lpips": loss} for loss in (5.0, 4.0, 3.0, 3.5, 3.0)]
    monkeypatch.setattr(VAEStage, "validate", Mock(side_effect=values))
    options = {"run_id": "v", "device": "cpu"}
    train("vae", target, TinyVideos(), tmp_path, **options, max_steps=4)
    (checkpoint_path(tmp_path, 3) / "weights.safetensors").write_bytes(b"")
    with pytest.raises(LamdError, match=r"step_00000003.*delete .*checkpoints to train again"):
        train("vae", target, TinyVideos(), tmp_path, **options)


def test_early_stopping_is_refused_where_it_would_choose_wrongly():
    for overrides, words in (
        (["train_vae.early_stopping={patience: 2}"], "needs loss.gan null"),
        (["train_vae.early_stopping={patience: 2}", "loss.gan=null"], "needs baselines null"),
        (["train_dmg.early_stopping={patience: 2}"], "needs baselines null"),
        (
            ["train_vae={early_stopping: {patience: 2}, small_clips: {size: 8, num_steps: 3}}"],
            "small_clips needs early_stopping null",
        ),
    ):
        with pytest.raises(LamdError, match=words):
            tiny_target(*overrides)


def test_first_steps_see_smaller_clips_and_cost_less(tmp_path):
    small = "train_vae.small_clips={size: 8, num_steps: 3}"
    target, whole = tiny_target(small), tiny_target()
    stage, seen = VAEStage(target, TinyVideos()), []
    stage.model.motion_encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    batch = stage.read(np.arange(4))
    for step in (1, 3, 4):
        stage.terms(stage.model, batch, StepRNG(0, "vae", step, 4, 0, 4)).losses["l1"].backward()
    assert [x.shape[-1] for x in seen] == [8, 8, 16]
    halves = seen[2].reshape(4, 4, 3, 8, 2, 8, 2).mean((4, 6))
    torch.testing.assert_close(seen[0], halves)
    three = (
        training_flops(part, "latent_motion", "autoencoder")
        for part in (whole, tiny_target("data.size=8"))
    )
    saved = 3 * 4 * (next(three) - next(three))
    before, now = (row_budget(own, "pixel_flops").lamd_tflops for own in (whole, target))
    assert before - now == pytest.approx(saved / 1e12)
    assert saved > 0
    folder = train("vae", target, TinyVideos(), tmp_path / "vae", run_id="small", device="cpu")
    assert len(records(folder)) == 10


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train_vae.small_clips={size: 16, num_steps: 3}", "below data.size, a multiple of f_s"),
        ("train_vae.small_clips={size: 6, num_steps: 3}", "below data.size, a multiple of f_s"),
        ("train_vae.small_clips={size: 8, num_steps: 10}", "must be below num_steps"),
        ("train_vae.small_clips={size: 8, num_steps: 4}", "start_step must not be below"),
        ("train_dmg.small_clips={size: 8, num_steps: 3}", "goes with train_vae only"),
    ],
)
def test_small_clips_that_cannot_be_are_refused(override, words):
    with pytest.raises(LamdError, match=words):
        tiny_target(override)


def test_lpips_needs_its_size_in_the_first_steps_too():
    small = ("train_vae.small_clips={size: 16, num_steps: 3}", "loss.lpips_weight=1")
    with pytest.raises(LamdError, match=r"train_vae\.small_clips\.size: LPIPS needs 31x31"):
        VAEStage(tiny_target("data.size=32", *small), TinyVideos(size=32))


def test_validation_psnr_is_over_the_range_of_the_model(monkeypatch):
    stage = VAEStage(tiny_target(), TinyVideos())
    x, posterior = torch.full((1, 4, 3, 16, 16), 0.7), Posterior(*torch.zeros(2, 1, 2, 4, 4))
    monkeypatch.setattr(stage, "held_out", lambda _: [(None, x)])
    for error, seen in ((0.2, 0.2), (0.5, 0.3)):  # x_hat is clamped to [-1, 1]
        model = Mock(return_value=VAEOutput(x + error, posterior, posterior.mean))
        model.latent_shape = (2, 4, 4)
        found = stage.validate(model)["psnr"]
        assert found == pytest.approx(10 * math.log10(4 / seen**2), abs=1e-3)


def test_colours_of_the_motion_encoder_alone_are_jittered():
    target, seen = tiny_target("vae.colour_jitter=0.5"), []
    stage = VAEStage(target, TinyVideos())
    stage.model.motion_encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    stage.model.image_encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    batch = stage.read(np.arange(4))
    x = to_model(batch[0])
    stage.terms(stage.model.train(), batch, StepRNG(0, "vae", 1, 4, 0, 4))
    jittered, first = seen
    torch.testing.assert_close(first, x[:, 0])
    for clip, change in zip(x.transpose(1, 2), jittered.transpose(1, 2), strict=True):
        for channel, changed in zip(clip, change, strict=True):
            scale, shift = np.polyfit(channel.flatten(), changed.flatten(), 1)
            assert abs(scale - 1) <= 0.5 and abs(shift) <= 0.5
            torch.testing.assert_close(changed, scale * channel + shift, atol=1e-4, rtol=1e-4)
    seen.clear()
    stage.validate(stage.model.eval())
    assert seen and all(x.abs().max() <= 1 for x in seen)


def test_validation_of_the_dmg_has_the_error_of_each_quarter_of_the_steps(run):
    held_out = records(run / "dmg", "validation")[-1]
    quarters = [held_out[f"eps_mse_quarter{q}"] for q in range(1, 5)]
    assert held_out["eps_mse"] == pytest.approx(np.mean(quarters))
    assert quarters[0] > quarters[3]  # the least noise is the hardest to see


def test_adversary_waits_for_its_start_and_its_gradients_are_its_own():
    stage = VAEStage(tiny_target(), TinyVideos())
    batch = stage.read(np.arange(4))
    for step, active in ((3, False), (4, True)):
        terms = stage.terms(stage.model, batch, StepRNG(0, "vae", step, 4, 0, 4))
        assert stage.adversary_active(step) is active
        assert ("gan" in terms.losses) is active
    sum(terms.losses.values()).backward()
    assert all(p.grad is None for p in stage.adversary.parameters())
    assert all(p.grad is not None for p in stage.model.parameters())
    stage.model.zero_grad()
    own = stage.adversary_terms(stage.adversary, terms.for_discriminator)
    own.losses["adversary"].backward()
    assert all(p.grad is not None for p in stage.adversary.parameters())
    assert all(p.grad is None for p in stage.model.parameters())


def test_lambda_rises_over_the_ramp():
    stage = VAEStage(tiny_target("loss.gan.ramp_steps=4", "loss.gan.adaptive=false"), TinyVideos())
    batch = stage.read(np.arange(4))
    steps = [
        stage.terms(stage.model, batch, StepRNG(0, "vae", step, 4, 0, 4)).notes["gan_weight"]
        for step in (4, 5, 7, 10)
    ]
    assert steps == pytest.approx([0.125, 0.25, 0.5, 0.5])  # gan.weight is 0.5, gan.start_step 3


def test_the_adversary_keeps_its_rate_and_learns():
    options = ("gan.start_step=0", "gan.ramp_steps=200", "gan.loss=bce", "gan.base_channels=16")
    target = tiny_target("train_vae.num_steps=80", *(f"loss.{option}" for option in options))
    run = _Run(VAEStage(target, TinyVideos(40)), HERE, "v", "cpu")
    rates, values = [], []
    for step, batches in read_ahead(run.read, 1, 80, run.accelerator.device):
        values.append(run.train_step(step, batches))
        rates.append([group["lr"] for o in run.optimizers for group in o.param_groups])
    generator, adversary = zip(*rates, strict=True)
    assert set(adversary) == {1e-3} and generator[-1] < 0.02 * max(generator)
    last = values[-20:]
    right = [float(v["accuracy_real"] + v["accuracy_fake"]) / 2 for v in last]
    assert np.mean(right) > 0.7  # 0.5 is chance


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_non_finite_loss_stops_and_keeps_the_last_good_state(tmp_path, monkeypatch, poison):
    honest, target = vae_stage.reconstruction_terms, tiny_target("loss.gan=null")

    def poisoned(*arguments) -> dict[str, torch.Tensor]:
        terms = honest(*arguments)
        poisoned.calls += 1
        return {n: v * (poison if poisoned.calls == 7 else 1.0) for n, v in terms.items()}

    poisoned.calls = 0
    monkeypatch.setattr(vae_stage, "reconstruction_terms", poisoned)
    with pytest.raises(LamdError) as error:
        train("vae", target, TinyVideos(), tmp_path, run_id="v", device="cpu")
    text = str(error.value)
    assert "\n" not in text
    for word in ("log.jsonl", "step 7", "last good checkpoint: step 5", "learning_rate"):
        assert word in text
    stage = VAEStage(target, TinyVideos())
    weights = load_file(checkpoint_path(tmp_path, 5) / "weights.safetensors")
    expected = Expected(weights, [MuonAdamW(stage.model.parameters(), lr=1.0).state_like()])
    good, said = newest_good(tmp_path, config=stage.config, run_id="v", expected=expected)
    assert (good.step, said) == (5, [])
    assert all(tensor.isfinite().all() for tensor in good.weights.values())
    assert not (tmp_path / "model.json").exists()
    monkeypatch.undo()
    train("vae", target, TinyVideos(), tmp_path, run_id="v", device="cpu")
    assert [record["step"] for record in records(tmp_path)] == [*range(1, 11)]


def test_folder_of_another_run_is_refused(run, tmp_path):
    target = tiny_target()
    train("vae", target, TinyVideos(), tmp_path, run_id="v", device="cpu", max_steps=5)
    changed = tiny_target("loss.kl_weight=0.5")
    with pytest.raises(LamdError, match=r"loss.kl_weight is 0.001 there and 0.5 here"):
        train("vae", changed, TinyVideos(), tmp_path, run_id="v", device="cpu")
    with pytest.raises(LamdError, match="v there, w here"):
        train("vae", target, TinyVideos(), tmp_path, run_id="w", device="cpu")
    with pytest.raises(LamdError, match="v there, w here"):
        train("vae", target, TinyVideos(), run / "vae", run_id="w", device="cpu")


def test_lpips_is_part_of_loss_and_validation(tmp_path, monkeypatch):
    class Distance(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            assert a.shape[1:] == (3, 16, 16)
            return (a - b).square().mean(dim=(1, 2, 3), keepdim=True)

    monkeypatch.setattr("lamd.metrics.frames.load_lpips", lambda backbone: Distance())
    options = ("loss.lpips_weight=1.0", "loss.lpips_frames=2", "train_vae.num_steps=5")
    with pytest.raises(LamdError, match="LPIPS needs 31x31 pixels, got 16; raise"):
        train("vae", tiny_target(*options), TinyVideos(), tmp_path, run_id="v", device="cpu")
    target = tiny_target(*options, "loss.lpips_backbone=vgg")
    train("vae", target, TinyVideos(), tmp_path, run_id="v", device="cpu")
    assert all(record["lpips"] > 0 for record in records(tmp_path))
    value = records(tmp_path, "validation")[0]
    assert value["l1_lpips"] == pytest.approx(value["l1"] + value["lpips"])


def test_validation_warns_of_an_empty_latent(capsys):
    stage = VAEStage(tiny_target(), TinyVideos())
    assert stage.validate(stage.model.eval())["active_units"] > 0
    assert capsys.readouterr().err == ""
    with torch.no_grad():
        for weights in stage.model.parameters():
            weights.zero_()
    assert stage.validate(stage.model)["active_units"] == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lamd: vae: no unit of the latent is active")
    assert "loss.kl_weight" in line


def test_noise_is_drawn_on_the_cpu_whatever_the_default_device():
    rng, device = StepRNG(0, "vae", 1, 4, 0, 4), torch.device("cpu")
    with torch.device("meta"):
        draws = rng.normal("eps", (2,)), rng.strata("t", 9), rng.uniform("u")
        noise = keyed_noise(["a", "b"], 0, (2,), device)()
    assert {draw.device for draw in (*draws, noise)} == {device}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gpu_follows_the_cpu_and_resumes(run, tmp_path, precision):
    target = tiny_target(
        "train_vae.num_steps=20",
        "train_vae.learning_rate=2.0e-4",
        "loss.gan.learning_rate=2.0e-4",
        f"train_vae.precision={precision}",
    )
    for steps in (8, None):
        train("vae", target, TinyVideos(), tmp_path, run_id="v", device="cuda", max_steps=steps)
    losses = [record["loss"] for record in records(tmp_path)]
    expected = [record["loss"] for record in records(run / "vae")]
    assert losses == pytest.approx(expected, rel=1e-3 if precision == "fp32" else 5e-2)


# Latents


def test_latents_are_the_posteriors_of_the_training_windows(run):
    target, videos = tiny_target(), TinyVideos()
    vae, latents = load_model(run / "vae", "vae"), open_latents(run / "latents", run_id="l")
    assert np.array_equal(latents.windows, training_windows(videos, target.train_dmg, target.data))
    for row in (0, 17, len(latents.windows) - 1):
        x = to_model(read_windows(videos, latents.windows[row : row + 1], 4))
        posterior = vae.encode(x)
        stored = torch.tensor(latents.posterior[row])
        assert torch.allclose(stored[0], posterior.mean[0], atol=1e-5)
        assert torch.allclose(stored[1], posterior.logvar[0], atol=1e-5)


def test_latent_statistics_make_z_m_standard(run):
    vae, latents = load_model(run / "vae", "vae"), open_latents(run / "latents")
    mean, logvar = torch.from_numpy(np.array(latents.posterior)).unbind(1)
    eps = torch.randn(mean.shape, generator=torch_generator("test"))
    z = vae.to_diffusion(vae.normalise(mean + eps * torch.exp(0.5 * logvar)))
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(2), atol=0.1)
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(2), atol=0.1)


@pytest.mark.slow
def test_latents_of_two_processes_are_those_of_one(run, tmp_path):
    script = (
        "import sys; from tiny import *; vae, out = map(Path, sys.argv[1:])\n"
        "encode_latents(tiny_target(), TinyVideos(), vae, out, run_id='l')"
    )
    (tmp_path / "latents").mkdir()
    path = f"{HERE}{os.pathsep}{HERE.parent}"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", script, run / "vae", tmp_path / "latents"],
            env={**os.environ, "WORLD_SIZE": "2", "RANK": rank, "PYTHONPATH": path},
        )
        for rank in "01"
    ]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    alone, shared = open_latents(run / "latents"), open_latents(tmp_path / "latents")
    assert np.array_equal(alone.posterior, shared.posterior)


def test_latents_of_others_are_refused(run, tmp_path):
    target, videos = tiny_target(), TinyVideos()
    with pytest.raises(LamdError, match="l there, m here"):
        encode_latents(target, videos, run / "vae", run / "latents", run_id="m", device="cpu")
    other = train(
        "vae", tiny_target("train_vae.seed=1"), videos, tmp_path / "vae", run_id="v", device="cpu"
    )
    parents = {"autoencoder": run / "vae", "latents": run / "latents"}
    dmg = tmp_path / "dmg"
    with pytest.raises(LamdError, match="another vae"):
        train("dmg", target, videos, dmg, parents | {"autoencoder": other}, run_id="d")
    strided = tiny_target("train_dmg.window_stride=1")
    with pytest.raises(LamdError, match="window_stride"):
        train("dmg", strided, videos, dmg, parents, run_id="d")
    damaged = encode_latents(
        target, videos, run / "vae", tmp_path / "latents", run_id="l", device="cpu"
    )
    posterior = damaged / "posterior.npy"
    posterior.write_bytes(posterior.read_bytes()[:-1])
    with pytest.raises(LamdError, match=r"posterior\.npy"):
        open_latents(damaged)


def test_a_denoiser_decodes_by_the_autoencoder_of_its_latents(run, tmp_path):
    own = {"autoencoder": run / "vae", "denoiser": run / "dmg"}
    load_paradigm("latent_motion", tiny_target(), own)
    values = ("seed=1", "num_steps=2", "warmup_steps=1", "validate_every=2")
    other = tiny_target(*(f"train_vae.{value}" for value in values), "loss.gan=null")
    train("vae", other, TinyVideos(), tmp_path / "vae", run_id="v", device="cpu")
    with pytest.raises(LamdError, match=f"another vae than {tmp_path / 'vae'}; give the two of"):
        load_paradigm("latent_motion", tiny_target(), own | {"autoencoder": tmp_path / "vae"})


def test_the_optimiser_has_the_configs_settings():
    chosen = ["weight_decay=0.07", "adam_betas=[0.6,0.8]", "gradient_clip=1e-6"]
    target = tiny_target(*(f"train_vae.{text}" for text in chosen), "train_vae.optimizer=adamw")
    stage = VAEStage(target, TinyVideos())
    timer = engine.StepTimer(stage, device="cpu")
    for optimizer in timer._run.optimizers:
        for group in optimizer.param_groups:
            assert (group["weight_decay"], tuple(group["betas"])) == (0.07, (0.6, 0.8))
    timer.step()
    moments = [state["exp_avg"] for state in timer._run.optimizers[0].state.values()]
    clipped = sum(moment.square().sum() for moment in moments).sqrt() / (1 - 0.6)
    assert clipped == pytest.approx(1e-6, rel=1e-2)


def test_half_an_hour_without_a_checkpoint_is_the_most(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SAVED_SECONDS", 0.0)
    rare = [f"train_vae.{key}=20" for key in ("num_steps", "checkpoint_every", "validate_every")]
    target = tiny_target(*rare, "train_vae.log_every=2", "loss.gan=null")
    train("vae", target, TinyVideos(), tmp_path, run_id="v", device="cpu", max_steps=5)
    kept = [path.name for path in list_checkpoints(tmp_path)]
    assert kept == ["step_00000005", "step_00000004"]
    assert all("waited" not in record for record in records(tmp_path))
