"""The values cell: one value per protocol from clip sets, features and captions, by role."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from golden_clips import golden_clips

from lamd.evaluate import evaluate_paths
from lamd.metrics.frames import psnr
from lamd.metrics.measure import measure
from lamd.metrics.protocols import PROTOCOLS, Protocol, register_protocol
from lamd.metrics.registry import METRICS, Metric, register
from lamd.metrics.values import Inputs, difference, mean_interval
from lamd.pipeline.contents import FEATURES, KEYS, VALUES, read_per_clip
from lamd.pipeline.steps import values
from lamd.pipeline.steps.clips import reordered_clips
from lamd.pipeline.steps.values import row_values
from lamd.report.results import Value
from lamd.targets.kind import Collector

REORDERED = ("frames_permuted", "frames_reversed", "frozen_half_way")


@pytest.fixture
def clip_sets(tmp_path):
    """Folders of 2 real clips and 2 generated clips for each, by role."""
    inputs = {}
    for role, clips in (("real", golden_clips(0, 2)), ("fake", golden_clips(1, 4))):
        inputs[role] = tmp_path / role
        inputs[role].mkdir()
        np.save(inputs[role] / "clips.npy", clips[:, :10, :32, :32])
    write_keys(inputs["real"], 2)
    return inputs


def write_keys(folder, count):
    """Write the keys of the first clips of `count` videos."""
    folder.mkdir(exist_ok=True)
    (folder / KEYS).write_text(json.dumps([f"bair/test/{i}@0" for i in range(count)]))


@pytest.mark.parametrize(("num_frames", "deviates"), [(16, False), (12, True)])
def test_row_values_check_a_protocols_number_of_frames(tmp_path, num_frames, deviates):
    inputs = {}
    for seed, role in enumerate(("real features 0", "fake features 0")):
        inputs[role] = tmp_path / role
        inputs[role].mkdir()
        rows = np.random.default_rng(seed).normal(size=(6, 400)).astype(np.float32)
        np.save(inputs[role] / FEATURES, rows)
    inputs["real"] = tmp_path / "real"
    write_keys(inputs["real"], 6)
    row_values(tmp_path, inputs, ["fvd.bair.v1"], num_frames, 1, "cpu")
    (value,) = json.loads((tmp_path / VALUES).read_text())
    assert ("12 frames, the protocol asks for 16" in value["deviations"]) == deviates


def test_row_values_keep_values_per_clip(tmp_path, clip_sets):
    protocols = ["psnr.given1.v1", "ssim.v1"]
    row_values(tmp_path, clip_sets, protocols, 10, 2, "cpu")
    per_clip = read_per_clip(tmp_path)
    assert list(per_clip) == protocols
    real, fake = (np.load(clip_sets[role] / "clips.npy")[:, 1:] for role in ("real", "fake"))
    np.testing.assert_array_equal(per_clip["psnr.given1.v1"], psnr(real.repeat(2, axis=0), fake))
    for value in json.loads((tmp_path / VALUES).read_text()):
        assert value["value"] == per_clip[value["protocol"]].mean()
        assert (value["n_real"], value["n_fake"]) == (2, 4)


def test_row_values_continue_with_the_protocol_that_was_interrupted(
    tmp_path, clip_sets, monkeypatch
):
    names, measured = ["psnr.given1.v1", "ssim.given1.v1"], []

    def interrupted(name, inputs):
        measured.append(name)
        if measured == names:
            raise KeyboardInterrupt
        return measure(name, inputs)

    monkeypatch.setattr(values, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        row_values(tmp_path, clip_sets, names, 10, 2, "cpu")
    row_values(tmp_path, clip_sets, names, 10, 2, "cpu")
    assert measured == [*names, "ssim.given1.v1"]
    assert [value["protocol"] for value in json.loads((tmp_path / VALUES).read_text())] == names
    assert list(read_per_clip(tmp_path)) == names


def test_row_values_of_captions(tmp_path):
    caption, other = "the cone is rotating.", "the snitch is rotating."
    for folder, file, captions in (
        ("real", "prompts.json", [caption, other]),
        ("captions", "captions.json", [caption, "", other, caption]),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(json.dumps(captions))
    write_keys(tmp_path / "real", 2)
    inputs = {role: tmp_path / role for role in ("real", "captions")}
    row_values(tmp_path, inputs, ["referring_expression_recall.v1"], 16, 2, "cpu")
    (value,) = json.loads((tmp_path / VALUES).read_text())
    assert (value["n_real"], value["n_fake"]) == (0, 4)
    per_clip = read_per_clip(tmp_path)["referring_expression_recall.v1"]
    np.testing.assert_array_equal(per_clip, [1, 0, 1, 0])


def brightness(real, fake, inputs):
    """Return the mean grey level of each generated clip above that of its real clip."""
    return fake.mean(axis=(1, 2, 3, 4)) - real.mean(axis=(1, 2, 3, 4))


@pytest.fixture
def toy_protocol():
    """A metric and a protocol from outside the package, gone after the test."""
    path = f"{__name__}:brightness"
    metric = register(Metric(name="toy", label="brightness", unit="levels", measure=path,
                             paired=True, min_frames=2))  # fmt: skip
    protocol = register_protocol(
        Protocol(name="toy.given1.v1", metric="toy", clip_rule="clip against its real clip",
                 given_frames=1, given_counted=False, solver="difference of means")
    )  # fmt: skip
    yield protocol
    del PROTOCOLS[protocol.name], METRICS[metric.name]


def test_toy_metric_is_measured_by_evaluate_and_values(tmp_path, clip_sets, toy_protocol):
    row_values(tmp_path, clip_sets, [toy_protocol.name], 10, 2, "cpu")
    (value,) = json.loads((tmp_path / VALUES).read_text())
    real = tmp_path / "repeated.npy"
    np.save(real, np.load(clip_sets["real"] / "clips.npy").repeat(2, axis=0))
    fake = clip_sets["fake"] / "clips.npy"
    for name in (toy_protocol.name, "toy"):
        (evaluated,) = evaluate_paths(real, fake, [name], device="cpu")
        same = {"interval": evaluated.interval, "n_real": 4}  # repeated clips are not known as such
        assert evaluated.as_dict() | {"deviations": []} == value | same
        np.testing.assert_array_equal(evaluated.per_clip, read_per_clip(tmp_path)["toy.given1.v1"])
    a, b = (np.load(path)[:, 1:].astype(float) for path in (real, fake))
    assert value["value"] == pytest.approx(b.mean() - a.mean())
    assert (value["unit"], toy_protocol.column) == ("levels", "toy")


def test_difference_of_two_rows_that_share_their_clips_is_narrower_than_their_intervals():
    rng = np.random.default_rng(0)
    clips = rng.normal(20, 3, 100)
    a, b = (clips + shift + rng.normal(0, 0.1, 100) for shift in (0.5, 0.0))
    value, (low, high) = difference(a, b, [str(k) for k in range(100)])
    assert value == pytest.approx(a.mean() - b.mean())
    assert 0.4 < low < value < high < 0.6
    assert mean_interval(a)[0] < mean_interval(b)[1]  # intervals that overlap show nothing


def test_difference_takes_several_samples_and_clips_of_one_video():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 5)), rng.normal(size=12)
    value, alone = difference(a.ravel(), b, [str(k) for k in range(12)])
    assert value == pytest.approx((a.mean(axis=1) - b).mean())
    videos = [str(k // 2) for k in range(12)]
    assert difference(np.repeat(b, 2), np.zeros(24), np.repeat(videos, 2))[0] == b.mean()
    assert difference(a.ravel(), b, videos)[1] != alone
    assert difference(a.ravel(), b, ["one"] * 12)[1] is None


def test_reordered_clips_move_wrongly_and_keep_their_frames(tmp_path):
    folders = {name: tmp_path / name for name in ("test", *REORDERED)}
    for folder in folders.values():
        folder.mkdir()
    clips = golden_clips(0, 3)[:, :8, :16, :16]
    np.save(folders["test"] / "clips.npy", clips)
    write_keys(folders["test"], 3)
    for order in REORDERED:
        reordered_clips(folders[order], {"test": folders["test"]}, order)
    permuted, backwards, frozen = (np.load(folders[o] / "clips.npy") for o in REORDERED)
    np.testing.assert_array_equal(backwards, clips[:, ::-1])
    np.testing.assert_array_equal(frozen[:, :5], clips[:, :5])
    assert (frozen[:, 5:] == clips[:, 4:5]).all()
    np.testing.assert_array_equal(permuted[:, 0], clips[:, 0])
    assert (permuted != clips).any(axis=(1, 2, 3, 4)).all()
    for clip, real in zip(permuted, clips, strict=True):
        assert sorted(f.tobytes() for f in clip) == sorted(f.tobytes() for f in real)


@pytest.fixture
def collector(tmp_path) -> Collector:
    """A collector of rows measured on six test clips."""
    write_keys(tmp_path, 6)
    store = SimpleNamespace(finished=lambda cell: tmp_path)
    return Collector(None, SimpleNamespace(plans={}), store, "quick", (), {})


def measure_row(
    collector: Collector, row: str, numbers: np.ndarray, *, point: str = "", metric: str = "psnr",
    cell: str = "", n_fake: int = 6,
) -> None:  # fmt: skip
    where = {"source": "bair", "row": row, "point": point, "metric": metric}
    collector.numbers[*where.values()] = numbers
    cells = (cell or f"{row}{point}",)
    collector.values.append(Value(**where, value=2.5, n_fake=n_fake, cells=cells))


def compare_rows(collector: Collector, row: str, reference: str, points: str = "") -> None:
    sides = ([("bair", name, point) for point in points or [""]] for name in (row, reference))
    collector.compare(SimpleNamespace(test=None), *sides, reference)


def test_rows_without_a_clip_for_each_real_one_have_no_difference(collector):
    rows = {"lamd": np.arange(12.0), "real_train": np.arange(4.0), "reconstruction": np.ones(6)}
    for row, numbers in rows.items():
        measure_row(collector, row, numbers)
    for row in ("real_train", "reconstruction", "missing"):
        compare_rows(collector, row, "lamd")
    (entry,) = collector.differences
    assert (entry.row, entry.value) == ("reconstruction", 1 - 5.5)
    assert entry.low < entry.value < entry.high


def test_fvd_of_other_numbers_of_clips_has_no_difference(collector):
    for row, n_fake in (("lamd", 600), ("reconstruction", 6)):
        for metric in ("fvd", "kvd", "psnr"):
            measure_row(collector, row, np.arange(6.0), metric=metric, n_fake=n_fake)
    compare_rows(collector, "reconstruction", "lamd")
    assert [entry.metric for entry in collector.differences] == ["kvd", "psnr"]


def test_a_difference_is_between_the_seeds_that_both_sides_measured(collector):
    for seed, row, value in (("0", "a", 1.0), ("1", "a", 2.0), ("1", "b", 5.0), ("2", "b", 9.0)):
        measure_row(collector, row, np.arange(6) + value, point=seed)
    compare_rows(collector, "a", "b", "012")
    (entry,) = collector.differences
    assert (entry.row, entry.point, entry.num_seeds) == ("a", "1", 1)
    assert entry.value == 2.0 - 5.0


def test_a_row_that_an_axis_does_not_change_has_no_difference(collector):
    for row, cell in (("a", "shared"), ("b", "shared"), ("c", "other")):
        measure_row(collector, row, np.arange(6.0), cell=cell)
    compare_rows(collector, "a", "b")
    assert not collector.differences
    compare_rows(collector, "a", "c")
    assert [entry.value for entry in collector.differences] == [0.0]


def test_intervals_of_metrics_clip_by_clip_draw_a_video_and_its_samples_together():
    level = np.random.default_rng(0).integers(1, 60, 20).repeat(5).astype(np.uint8)
    real = np.zeros((100, 1, 8, 8, 3), np.uint8)
    fake, videos = real + level[:, None, None, None, None], [str(k // 5) for k in range(100)]

    def width(**inputs) -> float:
        return np.ptp(measure("psnr.v1", Inputs(**inputs)).interval)

    alone, together = (width(clips=(real, fake), videos=owner) for owner in (None, videos))
    assert together > 1.8 * alone  # sqrt(5) in expectation
    assert width(clips=(real[::5], fake), samples=5) == pytest.approx(together)
    assert width(clips=(real, fake), seed=1) != alone


def test_windows_of_one_video_are_one_cluster_of_unpaired_sets_too():
    clusters = Inputs(samples=2, windows=5).clusters(20, 30)
    assert clusters.videos is None
    assert list(clusters.a) == [k // 5 for k in range(20)]
    assert list(clusters.b) == [k // 10 for k in range(30)]
