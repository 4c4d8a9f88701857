"""Pixel-space and latent-video diffusion as rows: budgets, cells, training, samples."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small import wake
from small_results import make_results
from test_resume import same_bits
from tiny import TinyVideos, table_cells, tiny_target

from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import PROFILES, Point, Target, denoiser_config, load_target
from lamd.forecast import predict
from lamd.generate import generate
from lamd.models.baselines import build_denoiser, build_video_autoencoder
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import build_vae
from lamd.paradigms.budget import (
    ACCOUNT,
    _windows,
    autoencoder_phases,
    first_stage,
    row_budget,
    row_training,
)
from lamd.paradigms.costs import costs
from lamd.pipeline.cell import with_ancestors
from lamd.pipeline.contents import LATENCY
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.steps.timing import time_samplers
from lamd.report.results import read_results
from lamd.targets import reproduce as run
from lamd.training import encode_latents, load_model, load_paradigm, train
from lamd.training.stages import training_windows

ROWS = ("pixel_clips", "pixel_flops", "latent_video_clips", "latent_video_flops")
TABLES = [
    pytest.param(name, profile, marks=[pytest.mark.slow] if profile == "standard" else [])
    for name in ("table_bair", "table_landscape")
    for profile in PROFILES
]


def with_rows(target: Target, *rows: str) -> Target:
    return Target.model_validate(target.model_dump() | {"rows": rows})


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# ---- budgets


@pytest.mark.parametrize(("name", "profile"), TABLES)
def test_parameters_match_the_dmg_and_the_models(name, profile):
    target = load_target(name, profile)
    with torch.device("meta"):
        vae, dmg = build_vae(target.vae, target.data), build_dmg(target)
        autoencoder = build_video_autoencoder(target)
        pixel, video = (build_denoiser(target, name) for name in ("pixel", "latent_video"))
    lamd, latent_video = costs(target), costs(target, "latent_video")
    assert lamd["autoencoder"].parameters == count(vae)
    assert latent_video["autoencoder"].parameters == count(autoencoder)
    assert latent_video["autoencoder"].flops <= lamd["autoencoder"].flops
    assert lamd["denoiser"].parameters == count(dmg)
    assert costs(target, "pixel")["denoiser"].parameters == count(pixel)
    assert latent_video["denoiser"].parameters == count(video)
    assert count(pixel) == pytest.approx(count(dmg), rel=0.05)
    assert count(video) == pytest.approx(count(dmg), rel=0.05)


@pytest.mark.parametrize(("name", "profile"), TABLES)
def test_budgets_share_clips_or_flops(name, profile):
    target = load_target(name, profile)
    clips = target.train_dmg.num_steps * target.train_dmg.batch_size
    for row in ROWS:
        budget = row_budget(target, row)
        total = budget.tflops + budget.autoencoder_tflops
        if row.endswith("clips"):
            assert budget.clips == clips
        else:
            assert total <= budget.lamd_tflops < total + budget.tflops / budget.steps
        assert (budget.autoencoder_tflops > 0) == row.startswith("latent_video")
        share = target.train_dmg.warmup_steps / target.train_dmg.num_steps
        assert row_training(target, row).warmup_steps == int(share * budget.steps + 1e-9)


def test_budget_factor_multiplies_the_flops_rows_and_the_video_autoencoder():
    budgets = {
        factor: {row: row_budget(tiny_target(f"baselines.budget_factor={factor}"), row)
                 for row in ROWS}
        for factor in (1, 3)
    }  # fmt: skip
    for row in ROWS:
        once, thrice = (budgets[factor][row] for factor in (1, 3))
        assert thrice.lamd_tflops == once.lamd_tflops
        steps = row.startswith("latent_video") and 3 * once.autoencoder_tflops
        assert 0.9 * steps <= thrice.autoencoder_tflops <= steps  # clips are encoded once
        if row.endswith("clips"):
            assert (thrice.steps, thrice.tflops) == (once.steps, once.tflops)
        else:
            total, step = thrice.tflops + thrice.autoencoder_tflops, once.tflops / once.steps
            assert total <= 3 * once.lamd_tflops < total + step
    factor = ("baselines.budget_factor=1.0", "baselines.latent_video.autoencoder.first_frame=none")
    assert tiny_target(*factor).model_dump() == tiny_target().model_dump()  # and so the hash


@pytest.mark.parametrize("factor", [0.1, 0.25, 0.99])
@pytest.mark.parametrize("profile", ["quick", "standard", "paper"])
def test_a_small_budget_shortens_all_parts_of_stage_1(profile, factor):
    target = load_target("table_bair", profile, [f"baselines.budget_factor={factor}"])
    short = first_stage(target, "latent_video")
    assert Target.model_validate(short.model_dump(mode="json")) == short  # as a checkpoint is read
    phases, whole = autoencoder_phases(short), autoencoder_phases(target)
    assert [phase.adversary for phase in phases] == [phase.adversary for phase in whole]
    for own, long in zip(phases, whole, strict=True):
        assert own.num_steps == pytest.approx(factor * long.num_steps, abs=1)


def test_an_autoencoder_that_leaves_nothing_is_refused():
    wide = tiny_target("baselines.latent_video.autoencoder.channels=[64,64]")
    with pytest.raises(LamdError, match=r"row latent_video_flops.*make the networks"):
        row_budget(wide, "latent_video_flops")


def test_without_widths_the_unet_has_the_dmgs():
    target = load_target("table_bair", "quick", ["baselines.pixel.unet=null"])
    assert denoiser_config(target, "pixel")["unet"]["channel_multipliers"] == [1, 2]
    changed = load_target(
        "table_bair", "quick", ["baselines.pixel.unet=null", "dmg.base_channels=32"]
    )
    pixels = [costs(own, "pixel")["denoiser"].parameters for own in (target, changed)]
    assert pixels[0] > pixels[1]


def test_snapshots_of_a_short_baseline_are_as_many_as_its_steps():
    target = load_target("table_bair", "quick", ["train_dmg.ema_snapshots=300"])
    training = row_training(target, "pixel_flops")
    assert training.ema_snapshots == training.num_steps < 300


# ---- rows and cells


def test_unknown_and_unfit_rows_are_refused():
    with pytest.raises(LamdError, match=r"'pixel_flop' among .*, did you mean 'pixel_flops'"):
        tiny_target("rows=[lamd,pixel_flop]")
    with pytest.raises(LamdError, match=r"row pixel_clips needs baselines\.pixel"):
        tiny_target("rows=[pixel_clips]", "baselines.pixel=null")
    with pytest.raises(LamdError, match="appear twice"):
        tiny_target("rows=[lamd,lamd]")
    with pytest.raises(LamdError, match="cannot be halved 5 times"):
        tiny_target("baselines.pixel.unet.channel_multipliers=[1,1,1,1,1,1]")
    with pytest.raises(LamdError, match="16 channels cannot be split into heads of 5"):
        tiny_target("baselines.pixel.unet.head_channels=5")
    with pytest.raises(LamdError, match="num_sampling_steps cannot exceed"):
        tiny_target("baselines.pixel.num_sampling_steps=101")
    with pytest.raises(LamdError, match="multiple of the autoencoder's f_t"):
        tiny_target("baselines.latent_video.autoencoder.temporal_downsampling=8")
    with pytest.raises(LamdError, match="no effect"):
        tiny_target("baselines={pixel: null, latent_video: null}")
    with pytest.raises(LamdError, match="baselines take no prompt"):
        tiny_target("dmg.prompt={kind: class, dropout: 0.0}")


def test_the_command_line_names_the_nearest_row(capsys, tmp_path):
    options = ["--rows", "lamd,pixel_clip", "--runs", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["reproduce", "table_bair", *options])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert "'pixel_clips'" in error and not list(tmp_path.iterdir())


def test_predictions_are_compared_for_the_rows_that_were_made(monkeypatch, tmp_path):
    seen = []
    outcome = run.Outcome(make_results(), tmp_path / "table_x", (), (), "")
    monkeypatch.setattr(run, "reproduce", lambda *_, **__: outcome)
    monkeypatch.setattr(predict, "accuracy", lambda target, *_: seen.append(target.rows))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["reproduce", "table_bair", "--rows", "lamd,pixel_flops"])
    assert not stopped.value.code
    assert seen == [("lamd", "pixel_flops")]


def test_other_cells_keep_their_keys():
    def keys(target: Target) -> dict[str, str]:
        return {cell.name: cell.plan_hash for cell in table_cells(target)}

    own = "rows=[copy_first_frame,reconstruction,lamd]"
    target = tiny_target(own)
    before = keys(target)
    assert keys(tiny_target(own, "baselines=null")) == before
    assert keys(tiny_target(own, "baselines.pixel.learning_rate=1")) == before
    all_rows = keys(with_rows(target, *target.rows, *ROWS))
    assert before.items() <= all_rows.items()
    assert all_rows.keys() - before.keys() == {
        "pixel clips", "pixel flops", "video_vae", "video_latents", "latent_video clips",
        "latent_video flops", *(f"{kind} {row}" for row in ROWS for kind in ("clips", "values")),
    }  # fmt: skip


def test_a_row_plans_only_what_it_needs():
    pixel = TablePlan(with_rows(tiny_target(), "pixel_flops"), "cpu")
    assert set(pixel.stages) - {"data", "vae", "latents", "dmg"} == {"pixel_flops"}
    needed = {cell.name for cell in with_ancestors([pixel.values["pixel_flops"]])}
    assert needed == {
        "data", "clips test", "pixel flops", "clips pixel_flops", "values pixel_flops",
    }  # fmt: skip
    grid = [cell.name for cell, _ in pixel.grid().values()]
    assert grid == ["clips test", "clips pixel_flops"]


def test_reconstruction_by_the_video_autoencoder_trains_nothing_else():
    plan = TablePlan(with_rows(tiny_target(), "latent_video_reconstruction"), "cpu")
    needed = {cell.name for cell in with_ancestors(plan.values.values())}
    row = "latent_video_reconstruction"
    assert needed == {"data", "clips test", "video_vae", f"clips {row}", f"values {row}"}
    with pytest.raises(LamdError, match=r"row latent_video_reconstruction needs baselines\.latent"):
        tiny_target("rows=[latent_video_reconstruction]", "baselines.latent_video=null")


def test_train_knows_the_stages_of_every_row(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(run.Runner, "run", lambda _, cell: made.append(cell.plan_hash))
    path = str(Path(__file__).with_name("tiny.yaml"))
    for stage in ("vae", "dmg", "video_vae", *ROWS):
        run.train(path, "quick", ["rows=[lamd]"], stage, runs=tmp_path, device="cpu")
    stages = TablePlan(with_rows(tiny_target(), "lamd", *ROWS), "cpu").stages
    assert made == [stages[name].plan_hash for name in ("vae", "dmg", "video_vae", *ROWS)]


def test_a_key_holds_what_a_row_depends_on():
    def key(row: str, *overrides: str) -> str:
        target = with_rows(tiny_target(*overrides), row)
        return TablePlan(target, "cpu").values[row].plan_hash

    assert key("pixel_clips") != key("pixel_clips", "baselines.pixel.num_sampling_steps=6")
    assert key("pixel_clips") != key("pixel_clips", "dmg.beta_end=0.02")
    assert key("pixel_clips") != key("pixel_clips", "baselines.pixel.prediction=v")
    assert key("pixel_clips") == key("pixel_clips", "dmg.prediction=v")
    assert key("pixel_clips") == key("pixel_clips", "dmg.condition=concat")
    assert key("pixel_flops") != key("pixel_flops", "train_vae.num_steps=100")
    assert key("pixel_clips") == key("pixel_clips", "train_vae.num_steps=100")
    assert key("latent_video_clips") != key("latent_video_clips", "train_vae.num_steps=100")


# ---- training and samples


def train_video(target: Target, folder: Path, *, stop: int | None = None) -> None:
    videos, steps = TinyVideos(), row_training(target, "latent_video_clips")
    parents = {"autoencoder": folder / "vae", "latents": folder / "latents"}
    train("video_vae", target, videos, folder / "vae", run_id="v", device="cpu")
    encode_latents(target, videos, *parents.values(), run_id="l", stage="video_vae", device="cpu")
    train(
        "latent_video", target, videos, folder / "unet", parents,
        run_id="d", options=steps, device="cpu", max_steps=stop,
    )  # fmt: skip


def train_pixel(target: Target, folder: Path, *, stop: int | None = None) -> None:
    steps = row_training(target, "pixel_clips")
    train(
        "pixel", target, TinyVideos(), folder, run_id="p", options=steps, device="cpu",
        max_steps=stop,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder, target = tmp_path_factory.mktemp("baselines"), tiny_target()
    train_pixel(target, folder / "pixel")
    train_video(target, folder)
    return folder


@pytest.mark.slow
def test_a_stopped_training_ends_with_the_same_bits(trained, tmp_path):
    target = tiny_target()
    for parent in ("vae", "latents"):
        shutil.copytree(trained / parent, tmp_path / parent)
    for stop in (4, None):
        train_pixel(target, tmp_path / "pixel", stop=stop)
        train_video(target, tmp_path, stop=stop)
    same_bits(trained / "pixel", tmp_path / "pixel")
    same_bits(trained / "unet", tmp_path / "unet")


def test_both_learn_and_the_latent_is_scaled(trained):
    for stage in ("pixel", "unet"):
        log = [json.loads(line) for line in (trained / stage / "log.jsonl").open()]
        losses = [line["eps_mse"] for line in log if line["group"] == "train"]
        assert len(losses) == 10
        assert np.mean(losses[-3:]) < np.mean(losses[:3])
    autoencoder = load_model(trained / "vae", "video_vae", tiny_target())
    assert (autoencoder.latent_std > 0).all() and (autoencoder.latent_std != 1).all()


def test_baseline_has_its_own_prediction(trained, tmp_path):
    target = tiny_target("baselines.pixel.prediction=v")
    train_pixel(target, tmp_path / "pixel")
    log = [json.loads(line) for line in (tmp_path / "pixel" / "log.jsonl").open()]
    assert {"v_mse"} == {key for line in log for key in line if key.endswith("_mse")}
    for folder, own in ((tmp_path, target), (trained, tiny_target())):
        models = load_paradigm("pixel", own, {"denoiser": folder / "pixel"})
        assert models.schedule.prediction == own.baselines.pixel.prediction


def test_a_rate_that_is_too_high_is_named(tmp_path):
    target = tiny_target("baselines.pixel.learning_rate=1e30")
    with pytest.raises(LamdError, match=r"lower baselines\.pixel\.learning_rate"):
        train_pixel(target, tmp_path)


def test_another_config_is_refused(trained):
    other = tiny_target("baselines.pixel.unet.base_channels=16")
    with pytest.raises(LamdError, match=r"another config: unet\.base_channels"):
        load_model(trained / "pixel", "pixel", other)
    load_model(trained / "pixel", "pixel", tiny_target("dmg.condition=concat"))
    with pytest.raises(LamdError, match="of stage 'pixel'"):
        load_model(trained / "pixel", "latent_video")


def test_a_sample_depends_on_its_key_alone(trained):
    target = tiny_target()
    folders = {"autoencoder": trained / "vae", "denoiser": trained / "unet"}
    pixel = load_paradigm("pixel", target, {"denoiser": trained / "pixel"})
    video = load_paradigm("latent_video", target, folders)
    wake(pixel.network), wake(video.network)

    def both(x0: torch.Tensor, keys: list[str]) -> list[torch.Tensor]:
        return [generate(models, target.sampler, x0, keys) for models in (pixel, video)]

    x0 = torch.rand(3, 3, 16, 16) * 2 - 1
    for three, one, other in zip(
        both(x0, ["a", "b", "c"]), both(x0[1:2], ["b"]), both(x0[1:2], ["d"]), strict=True
    ):
        assert three.shape == (3, 4, 3, 16, 16)
        assert torch.allclose(three[1:2], one, atol=1e-5)
        assert not torch.allclose(one, other, atol=1e-2)
    assert both(x0, ["a", "b", "c"])[0].abs().max() <= 1


def test_time_samplers_times_every_paradigm_by_the_same_code(trained, tmp_path):
    points = (
        Point("pixel_clips", "ddim", 2),
        Point("latent_video_clips", "dpmpp_2m", 2),
        Point("latent_video_clips", "ddpm", 3),
    )

    def at(source: str, point: Point) -> Target:
        sampler = {"name": point.sampler, "num_steps": point.num_steps, "eta": None, "seed": 0}
        if point.sampler == "ddim":
            sampler["eta"] = 0.0
        return tiny_target(f"sampler={json.dumps(sampler)}")

    figure = SimpleNamespace(
        series=("pixel_clips", "latent_video_clips"), points=points, at=at, batch_size=2,
        threads=1, rounds=2, sources={"tiny": tiny_target()},
    )  # fmt: skip
    inputs = {
        "pixel_clips denoiser": trained / "pixel",
        "latent_video_clips denoiser": trained / "unet",
        "latent_video_clips autoencoder": trained / "vae",
    }
    outputs = time_samplers(tmp_path, inputs, figure, "tiny", "cpu")
    seconds = json.loads((tmp_path / LATENCY).read_text())
    assert outputs["threads"] == "1" and outputs["dtype"] == "float32"
    assert set(seconds) == {
        *map(str, points), "latent_video_clips encode", "latent_video_clips decode",
    }  # fmt: skip
    assert all(len(values) == 2 and min(values) > 0 for values in seconds.values())


@pytest.mark.slow
def test_all_rows_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMD_RUNS", str(tmp_path / "runs"))
    path = str(Path(__file__).with_name("tiny.yaml"))
    places = {"runs": tmp_path / "runs", "results": tmp_path / "results", "device": "cpu"}
    rows = ["copy_first_frame", "latent_video_reconstruction", "lamd", *ROWS]
    overrides = [f"rows=[{','.join(rows)}]", "evaluate.samples_per_clip=2"]
    outcome = run.reproduce(path, "quick", overrides, **places)
    assert not outcome.failed
    results = read_results(outcome.folder / "record.json")
    assert [row.name for row in results.rows] == rows
    assert overrides[0] in results.overrides
    psnr = {value.row: value for value in results.values if value.metric == "psnr"}
    for row in results.rows[3:]:
        budget = row_budget(tiny_target(*overrides), row.name)
        assert psnr[row.name].n_fake == psnr["lamd"].n_fake
        assert psnr[row.name].verdict == "not comparable"
        assert row.budget == asdict(budget)
        assert f"{budget.steps:,} steps of 4 clips" in row.description
    with Image.open(outcome.folder / "clips.webp") as grid:
        assert grid.is_animated
        assert grid.width // 132 == 4 + len(ROWS)  # 128 pixels and a gap for each set of clips
    table = (outcome.folder / "table.md").read_text()
    assert "Pixel-space diffusion, equal training FLOPs (K = 5)" in table
    assert "Latent-video diffusion, equal clips (K = 10)" in table
    assert ACCOUNT in table
    fewer = run.reproduce(path, "quick", [f"rows=[{','.join(rows[:3])}]", overrides[1]], **places)
    assert fewer.folder.name == f"quick-{fewer.results.config_hash}"


@pytest.mark.parametrize("option", [
    "train_dmg.validation_fraction=null", "train_dmg.validation_fraction=0.1",
    "data.augment={variants: 3, flip: true, crop: 1.0, time_jitter: false}",
])  # fmt: skip
def test_budget_counts_the_windows_that_training_has(option):
    target = tiny_target(option)
    videos = TinyVideos(12, 30, 16)
    expected = len(training_windows(videos, target.train_dmg, target.data))
    assert _windows(target, target.train_dmg) == expected
