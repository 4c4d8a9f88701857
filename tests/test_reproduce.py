"""All of `table_bair`, made tiny: rows, second run, failures, real layout, sampling."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lamd
from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import experiments_dir, load_target
from lamd.data.dataset import DATASETS
from lamd.execute import ExecutorOptions
from lamd.report.results import Results, Value, read_results
from lamd.targets import reproduce as run
from lamd.weights import cache_root, weights_path

pytestmark = pytest.mark.slow

COUNTS = {"num_train": 12, "num_test": 4}
TRAIN = {"num_steps": 4, "batch_size": 4, "warmup_steps": 1, "validate_every": 4,
         "checkpoint_every": 2, "num_validation_clips": 2, "log_every": 1}  # fmt: skip
TINY = [
    *(f"data.{key}={value}" for key, value in COUNTS.items()),
    *(f"train_vae.{key}={value}" for key, value in TRAIN.items()),
    *(f"train_dmg.{key}={value}" for key, value in TRAIN.items()),
    "train_dmg.num_steps=8",  # as many as the snapshots of quick table_bair
    "vae.image_channels=[8,8,16]",
    "vae.motion_encoder_channels=[8,8]",
    "vae.decoder_channels=[8,8,16]",
    "loss.lpips_frames=1",
    "dmg.base_channels=32",
    "dmg.channel_multipliers=[1,1]",
    "dmg.attention_factors=[2]",
    "sampler.num_steps=2",
    "runtime.sampling_batch_size=8",
    "evaluate.grid_clips=2",
]  # fmt: skip
OPTIONS = [word for text in TINY for word in ("--set", text)]
REAL_ROWS = (
    "rows=[real_train,copy_first_frame,reconstruction,lamd]"  # no simulator, no other future
)
FILES = {"table.md", "table.tex", "values.csv", "fvd_by_row.png", "clips.webp", "per_clip.parquet",
         "record.json"}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Run the tiny target once; return the folder with its `runs` and `results`."""
    root = tmp_path_factory.mktemp("reproduce")
    reproduce(root)
    return root


@pytest.fixture
def copy(place, tmp_path):
    """Return a copy that a test may spoil."""
    return Path(shutil.copytree(place, tmp_path / "copy"))


def reproduce(root: Path, *more: str) -> run.Outcome:
    places = {"runs": root / "runs", "results": root / "results"}
    return run.reproduce("table_bair", "quick", [*TINY, *more], **places, device="cpu")


def data_of(outcome: run.Outcome) -> set[str]:
    return {source.data for source in outcome.results.sources.values()}


def command(root: Path, name: str, *more: str) -> list[str]:
    return [name, "table_bair", *OPTIONS, "--runs", str(root / "runs"), "--device", "cpu", *more]


def cells(root: Path) -> dict[str, int]:
    found = (root / "runs" / "cells").glob("*/cell.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def find(results: Results, row: str, metric: str) -> Value | None:
    return next((v for v in results.values if (v.row, v.metric) == (row, metric)), None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_everything_is_made_and_labelled(place):
    folder = place / "results" / "table_bair" / "quick"
    assert set(contents(folder)) == FILES
    results = read_results(folder / "record.json")
    assert not results.missing
    rows = ["real_train", "another_future", "copy_first_frame", "reconstruction", "lamd"]
    assert [row.name for row in results.rows] == rows
    assert len(results.values) == 2 + 4 * 6  # FVD and KVD need no pairs
    assert {source.data for source in results.sources.values()} == {"stand-in"}
    assert {value.verdict for value in results.values} == {"not comparable"}
    assert {value.n_fake for value in results.values} == {COUNTS["num_test"]}
    copied, lamd = (find(results, row, "psnr") for row in ("copy_first_frame", "lamd"))
    assert copied.value > lamd.value
    assert all(cell.seconds >= 0 and cell.peak_memory_mb > 0 for cell in results.cells)
    per_clip = pd.read_parquet(folder / "per_clip.parquet")
    means = per_clip.groupby(["row", "metric"])["value"].mean()
    assert means["lamd", "psnr"] == pytest.approx(lamd.value)


def test_the_second_run_makes_nothing_and_is_quick(place):
    before, made = contents(place / "results" / "table_bair" / "quick"), cells(place)
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import sys, lamd.cli\n"
        "try: lamd.cli.main(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    results = ["--results", str(place / "results")]
    arguments = [a for a in command(place, "reproduce", *results) if a not in ("--device", "cpu")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 20
    assert contents(place / "results" / "table_bair" / "quick") == before
    assert cells(place) == made


def test_finished_cells_may_be_in_a_folder_that_is_only_read(copy, monkeypatch):
    checked, locks = [], []
    monkeypatch.setattr(run, "check_folder", checked.append)
    monkeypatch.setattr(run, "locked", locks.append)
    monkeypatch.setattr(run.os, "access", lambda path, mode: False)
    reproduce(copy)
    assert checked == [copy / "results" / "table_bair" / "quick"] and not locks


def test_another_seed_remakes_only_the_samples(copy):
    before = cells(copy)
    results = reproduce(copy, "sampler.seed=1").results
    new = set(cells(copy)) - set(before)
    assert sorted(name.split("-")[0] for name in new) == ["clips", "clips", "features", "values"]
    assert before.items() <= cells(copy).items()
    old = read_results(copy / "results" / "table_bair" / "quick" / "record.json")
    assert find(old, "real_train", "fvd").value == find(results, "real_train", "fvd").value


def test_other_overrides_do_not_replace_a_record(copy):
    before = contents(copy / "results" / "table_bair" / "quick")
    outcome = reproduce(copy, "sampler.seed=1")
    assert outcome.folder.name == f"quick-{outcome.results.config_hash}"
    assert outcome.folder.name in outcome.notice
    assert contents(copy / "results" / "table_bair" / "quick") == before


def test_fewer_rows_do_not_replace_a_record(copy):
    before = contents(copy / "results" / "table_bair" / "quick")
    outcome = reproduce(copy, "rows=[copy_first_frame,lamd]")
    assert outcome.folder.name == f"quick-{outcome.results.config_hash}"
    assert contents(copy / "results" / "table_bair" / "quick") == before


def test_a_table_takes_worker_processes(copy, tmp_path):
    options = ExecutorOptions(jobs=2)
    outcome = run.reproduce(
        "table_bair", "quick", [*TINY, "sampler.seed=3"],
        runs=copy / "runs", results=tmp_path, device="cpu", options=options,
    )  # fmt: skip
    assert not outcome.failed
    assert find(outcome.results, "lamd", "fvd") is not None


def test_several_samples_a_clip_are_measured_together(copy):
    protocols = "fvd.bair.v1,psnr.given1.v1,diversity.lpips-alex.v1"
    options = ["evaluate.samples_per_clip=2", f"evaluate.protocols=[{protocols}]"]
    before, results = cells(copy), reproduce(copy, *options).results
    sample, one = (find(results, row, "fvd") for row in ("lamd", "reconstruction"))
    assert (sample.n_real, sample.n_fake, one.n_fake) == (4, 8, 4)
    assert any("samples" in deviation for deviation in sample.deviations)
    assert find(results, "lamd", "diversity").value > 0
    assert find(results, "reconstruction", "diversity") is None
    assert {name.split("-")[0] for name in cells(copy).keys() - before.keys()} == {
        "clips", "features", "values"}  # fmt: skip


def test_a_row_that_fails_leaves_a_missing_value_and_loses_nothing(copy, capsys, monkeypatch):
    def fail(*_, **__):
        raise LamdError("model.safetensors: damaged; delete it")

    monkeypatch.setattr("lamd.pipeline.steps.clips.generated_clips", fail)
    before = contents(copy / "results" / "table_bair" / "quick")
    results = ["--results", str(copy / "results")]
    with pytest.raises(SystemExit) as done:
        cli.main(command(copy, "reproduce", "--set", "sampler.seed=1", *results))
    out, err = capsys.readouterr()
    assert done.value.code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("lamd: clips lamd") and last.endswith(": damaged; delete it")
    assert contents(copy / "results" / "table_bair" / "quick") == before
    (folder,) = (copy / "results" / "table_bair").glob("quick-*")
    results = read_results(folder / "record.json")
    assert [missing.row for missing in results.missing] == ["lamd"]
    assert find(results, "reconstruction", "psnr") is not None
    assert "not run" in out


def test_a_killed_training_goes_on_with_the_same_command(place, tmp_path):
    steps = ["--set", "train_vae.num_steps=20", "--set", "train_vae.validate_every=20"]
    arguments = command(tmp_path, "train", "--stage", "vae", *steps)
    (data,) = (place / "runs" / "cells").glob("data-*")
    shutil.copytree(data, tmp_path / "runs" / "cells" / data.name)
    process = subprocess.Popen([sys.executable, "-m", "lamd", *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs" / "cells").glob("vae-*.partial/checkpoints/step_*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert not done.value.code
    (folder,) = (tmp_path / "runs" / "cells").glob("vae-*")
    assert (folder / "model.safetensors").is_file()
    assert '"resumed": true' in (folder / "cell.json").read_text()


def test_a_changed_cell_ends_the_run_before_any_work(copy, capsys):
    made = copy / "runs" / "cells"
    path = next(made.glob("values-*/values.json"))
    path.write_text(path.read_text().replace('"protocol"', '"protocol" '))
    shutil.rmtree(next(made.glob("features-*")))
    before = cells(copy)
    with pytest.raises(SystemExit) as done:
        cli.main(command(copy, "reproduce", "--results", str(copy / "results")))
    assert done.value.code == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"lamd: {path}: changed since the cell was made; delete its folder")
    assert cells(copy) == before
    shutil.rmtree(path.parent)
    assert {value.row for value in reproduce(copy).results.values} >= {"lamd", "reconstruction"}


def test_cells_deleted_to_make_room_are_not_missed_by_their_children(copy):
    for folder in (copy / "runs" / "cells").glob("latents-*"):
        shutil.rmtree(folder)
    before = cells(copy)
    assert not reproduce(copy).failed
    assert cells(copy) == before


def test_a_damaged_model_ends_the_run_before_any_work(copy, capsys):
    (model,) = (copy / "runs" / "cells").glob("vae-*/model.safetensors")
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    results, made = sorted((copy / "results").rglob("*")), cells(copy)
    changed = ["--set", "sampler.seed=1", "--results", str(copy / "results")]
    with pytest.raises(SystemExit) as done:
        cli.main(command(copy, "reproduce", *changed))
    assert done.value.code == 2
    assert capsys.readouterr().err.strip().startswith(f"lamd: {model}: changed since")
    assert (sorted((copy / "results").rglob("*")), cells(copy)) == (results, made)


def test_the_real_layout_is_read_and_a_stand_in_stays_one(copy, tmp_path, monkeypatch):
    root, cache = tmp_path / "data", tmp_path / "cache"
    cache.mkdir()
    (cache / "weights").symlink_to(cache_root() / "weights")
    monkeypatch.setenv("LAMD_CACHE", str(cache))
    monkeypatch.setenv("LAMD_DATA", str(root))
    DATASETS["bair"].simulate(root, **COUNTS, seed=0, num_workers=1)
    real = ["data.source=real", "data.simulation_seed=null", REAL_ROWS]
    trained = {name for name in cells(copy) if name.startswith(("vae", "dmg"))}
    assert data_of(reproduce(copy, *real)) == {"stand-in"}
    assert {name for name in cells(copy) if name.startswith(("vae", "dmg"))} == trained
    (root / "stand_in.json").unlink()
    monkeypatch.setattr("lamd.data.stand_in._MARK", "by another program")  # as in real files
    for path in root.rglob("*.tfrecords"):  # as other files; a packed split stays what it was
        os.utime(path)
    outcome = reproduce(copy, *real)
    assert data_of(outcome) == {"real"}
    reasons = find(outcome.results, "lamd", "fvd").reason
    assert "reduced scale" in reasons
    assert "stand-in" not in reasons


def test_a_broken_record_is_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAMD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    DATASETS["bair"].simulate(tmp_path / "data", **COUNTS, seed=0, num_workers=1)
    path = next((tmp_path / "data").rglob("train/*.tfrecords"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    real = ["--set", "data.source=real", "--set", "data.simulation_seed=null", "--set", REAL_ROWS]
    with pytest.raises(SystemExit) as done:
        cli.main(command(tmp_path, "reproduce", *real, "--results", str(tmp_path / "results")))
    assert done.value.code == 2
    assert str(path) in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "results").exists()


def test_landscape_goes_on_without_a_broken_video_or_stops(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAMD_DATA", str(tmp_path / "data"))
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "weights").symlink_to(cache_root() / "weights")
    monkeypatch.setenv("LAMD_CACHE", str(cache))
    DATASETS["landscape"].simulate(
        tmp_path / "data", num_train=13, num_test=4, seed=0, frame_size=(64, 36)
    )
    broken = sorted((tmp_path / "data" / "sky_train").rglob("*.jpg"))[0]
    broken.write_bytes(broken.read_bytes()[:300])
    (broken.parent / "notes.txt").write_text("no frame")
    real = ["data.source=real", "data.simulation_seed=null", "data.resize=area", REAL_ROWS, *TINY]
    options = [word for text in real for word in ("--set", text)]
    places = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]

    def reproduce_landscape(*more: str) -> int:
        with pytest.raises(SystemExit) as done:
            cli.main(["reproduce", "table_landscape", *options, *places, "--device", "cpu", *more])
        return done.value.code or 0

    assert reproduce_landscape("--set", "data.on_corrupt=raise") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert broken.name in last and "data.on_corrupt: skip" in last
    assert not (tmp_path / "results").exists()
    assert reproduce_landscape() == 0
    results = read_results(tmp_path / "results" / "table_landscape" / "quick" / "record.json")
    notes = " ".join(results.notes)
    assert broken.name in notes and "broken JPEG" in notes
    assert "videos; resize area" in notes
    deviations = find(results, "lamd", "fvd").deviations
    assert "data.resize area, not pillow_bilinear" in deviations
    assert {"fvd", "fvd-counted", "smoothness", "psnr"} <= {v.metric for v in results.values}
    assert find(results, "real_train", "smoothness") is not None
    assert find(results, "lamd", "fvd").value != find(results, "lamd", "fvd-counted").value


def figures(root: Path) -> Path:
    """Return a folder with the figures that BAIR alone can fill, and their source."""
    folder = root / "experiments"
    folder.mkdir()
    for path in experiments_dir().glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        (folder / path.name).write_text(
            text.replace("[table_bair, table_landscape]", "[table_bair]")
        )
    return folder


def test_figures_and_reconstruction_table_retrain_nothing(copy, tmp_path):
    folder, before = figures(tmp_path), cells(copy)
    tiny = [f"sources.table_bair.{option}" for option in TINY]
    small = ["figure.clips=2", "figure.frames=3"]
    asked = {"samples_bair": ["figure.samples=2"], "rollout_bair": ["figure.chunks=2"]}
    for name in ("reconstruction", "motion_transfer", "samples_bair", "interpolation",
                 "scaling", "rollout_bair"):  # fmt: skip
        outcome = run.reproduce(
            str(folder / f"fig_{name}.yaml"), "quick", [*tiny, *small, *asked.get(name, [])],
            runs=copy / "runs", results=copy / "results", device="cpu",
        )  # fmt: skip
        made = {"strips_bair.png", "clips_bair.webp", "record.json"}
        assert made <= set(contents(copy / "results" / f"fig_{name}" / "quick"))
        (picture,) = read_results(outcome.folder / "record.json").pictures
        assert data_of(outcome) == {"stand-in"}
        for word in ("Simulated stand-in for BAIR", "MCD-VAE", "seeds: ", "profile quick"):
            assert word in picture.caption
        counts = {value.n_fake for value in outcome.results.values}
        assert counts <= {COUNTS["num_test"] if name == "rollout_bair" else None}
    outcome = run.reproduce(
        str(folder / "table_reconstruction.yaml"), "quick", tiny,
        runs=copy / "runs", results=copy / "results", device="cpu",
    )  # fmt: skip
    results = read_results(outcome.folder / "record.json")
    assert {value.metric for value in results.values} >= {"fvd", "psnr", "ssim", "lpips-alex"}
    if not weights_path("inception").exists():
        (missing,) = results.missing
        assert missing.metric == "fid"
        assert "weights missing" in (outcome.folder / "table.md").read_text(encoding="utf-8")
    new = {name.split("-")[0] for name in cells(copy).keys() - before.keys()}
    assert new <= {"figure", "clips", "features", "values"}
    assert {name: time for name, time in cells(copy).items() if name in before} == before


def test_generate_rolls_out(place, tmp_path, capsys):
    clips = []
    for more in ((), ("--rollout", "3")):
        out = tmp_path / f"clips{len(clips)}.npy"
        with pytest.raises(SystemExit) as done:
            cli.main(command(place, "generate", "--out", str(out), "--count", "2", *more))
        assert not done.value.code
        clips.append(np.load(out))
    short, long = clips
    assert long.shape[:2] == (2, 16 + 2 * 15)
    assert np.array_equal(long[:, :16], short)
    assert not np.array_equal(long[:, 16:31], short[:, 1:])
    assert "at the seams" in capsys.readouterr().out


def test_the_python_of_the_docs_generates_clips(place, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    for kind in ("vae", "dmg"):
        (folder,) = (place / "runs" / "cells").glob(f"{kind}-*")
        code = code.replace(f"{kind}-KEY", folder.name)
    monkeypatch.chdir(place)
    monkeypatch.setattr(lamd, "load_target", partial(load_target, overrides=TINY))
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.save("first_frames.npy", frames)
    names: dict = {}
    exec(code, names)
    assert names["clips"].shape == (2, 16, 32, 32, 3)
    assert np.array_equal(names["clips"][:, 0], frames)


def test_generate_keeps_the_given_frame_and_depends_on_its_key_only(place, tmp_path):
    def sample(*more: str) -> np.ndarray:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        with pytest.raises(SystemExit) as done:
            cli.main(command(place, "generate", "--out", str(out), *more))
        assert not done.value.code
        return np.load(out)

    two = sample("--count", "2", "--samples", "2")
    assert (*two.shape[:2], two.shape[-1]) == (4, 16, 3)
    assert (two[0, 0] == two[1, 0]).all()
    assert (two[0, 1:] != two[1, 1:]).any()
    one = sample("--count", "1", "--set", "runtime.sampling_batch_size=1")
    assert np.abs(one[0].astype(int) - two[0]).max() <= 1
    assert (sample("--count", "1", "--seed", "9") != one).any()


@pytest.mark.parametrize("suffix", [".mp4", ".webp"])
def test_generate_writes_a_grid_that_players_show(place, tmp_path, suffix):
    out = tmp_path / f"clips{suffix}"
    with pytest.raises(SystemExit) as done:
        cli.main(command(place, "generate", "--out", str(out), "--count", "2"))
    assert not done.value.code
    size = load_target("table_bair", "quick", TINY).data.size
    if suffix == ".webp":
        with Image.open(out) as image:
            frames, (width, height) = image.n_frames, image.size
        assert 1 < frames <= 16  # the encoder merges equal frames
    else:
        with av.open(str(out)) as video:
            pictures = [*video.decode(video=0)]
        assert len(pictures) == 16
        width, height = pictures[0].width, pictures[0].height
    assert width >= 2 * size and height >= size
