"""Class-conditional FVD and its spread against a direct computation, and what it needs."""

import json

import numpy as np
import pytest
import scipy.linalg
from tiny import tiny_target

from lamd.base.errors import LamdError
from lamd.config import DataConfig
from lamd.evaluate import evaluate_paths
from lamd.metrics.frechet import frechet_distance
from lamd.metrics.measure import measure
from lamd.metrics.protocols import metric_for
from lamd.metrics.values import Inputs
from lamd.pipeline.contents import FEATURES, VALUES, read_per_clip
from lamd.pipeline.graph import TablePlan

CLASSES = ("All Clear", "Fire", "Stop")
NAMES = ("cfvd.gestures.v1", "cfvd_spread.gestures.v1")


def draw(seed, sizes=(40, 60, 50), d=8):
    """Features and classes; classes are far apart and differ in spread."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(3 * k + 0.2 * seed, 1 + 0.3 * k, (n, d)) for k, n in enumerate(sizes)]
    return np.concatenate(rows), np.repeat(CLASSES, sizes).tolist()


def direct(a, b):
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(ca @ cb).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)


def by_class(name, real, real_classes, fake, fake_classes):
    """Measure a protocol of class distances from features."""
    return measure(
        name, Inputs(features=(real, fake), classes=(real_classes, fake_classes), samples=1)
    )


def test_equal_sets_are_at_zero():
    rows, classes = draw(0)
    for name in NAMES:
        value = by_class(name, rows, classes, rows, classes)
        assert 0 <= value.value < 1e-9


def test_agrees_with_scipy_class_by_class():
    (real, real_classes), (fake, fake_classes) = draw(0), draw(1, (30, 45, 70))
    expected = {
        name: direct(real[np.equal(real_classes, name)], fake[np.equal(fake_classes, name)])
        for name in CLASSES
    }
    mean, spread = (by_class(name, real, real_classes, fake, fake_classes) for name in NAMES)
    assert mean.value == pytest.approx(sum(expected.values()) / 3)
    deviations = [(value - mean.value) ** 2 for value in expected.values()]
    assert spread.value == pytest.approx((sum(deviations) / 3) ** 0.5)
    assert (mean.n_real, mean.n_fake, mean.note) == (150, 145, "3 classes")


def test_the_order_of_clips_does_not_matter():
    (real, real_classes), (fake, fake_classes) = draw(0), draw(1)
    order = np.random.default_rng(0).permutation(len(fake))
    shuffled = [fake_classes[k] for k in order]
    for name in NAMES:
        one = by_class(name, real, real_classes, fake, fake_classes).value
        assert by_class(name, real, real_classes, fake[order], shuffled).value == pytest.approx(one)


def test_right_clips_under_wrong_classes_are_far():
    real, classes = draw(0)
    wrong = draw(1)[0]
    swapped = [CLASSES[(CLASSES.index(name) + 1) % 3] for name in classes]
    right = by_class(NAMES[0], real, classes, wrong, classes).value
    assert by_class(NAMES[0], real, classes, wrong, swapped).value > 20 * right


def test_cfvd_notes_few_clips_per_class_and_refuses_too_few():
    real, classes = draw(0, (3, 4, 2))
    value = by_class(NAMES[0], real, classes, real, classes)
    assert value.note == "3 classes, the smallest of 2 clips: biased upwards"
    with pytest.raises(LamdError, match="class 'Stop': 1 real and 2 generated clips"):
        by_class(NAMES[0], real[:-1], classes[:-1], real, classes)
    with pytest.raises(LamdError, match="class 'Fire': 4 real and 0 generated clips"):
        by_class(NAMES[0], real, classes, real[:3], classes[:3])
    with pytest.raises(ValueError, match="9 rows of features, but 8 classes"):
        by_class(NAMES[0], real, classes[:-1], real, classes)


@pytest.mark.parametrize("name", NAMES)
def test_distances_by_class_need_the_classes(name):
    rows, _ = draw(0)
    with pytest.raises(ValueError, match="need the classes of the clips, got none"):
        measure(name, Inputs(features=(rows, rows), samples=1))


def test_the_interval_of_cfvd_is_as_wide_as_its_true_spread():
    found = [by_class(name, *draw(0), *draw(1)) for name in NAMES]
    draws = []
    for seed in range(60):
        noise = np.random.default_rng(seed)
        sets = []
        for other in (0, 1):
            rows, classes = draw(other)
            means = [rows[np.equal(classes, name)] for name in CLASSES]
            drawn = [noise.normal(m.mean(0), m.std(0), m.shape) for m in means]
            sets += [np.concatenate(drawn), classes]
        draws.append([by_class(name, *sets).value for name in NAMES])
    for value, spread in zip(found, np.std(draws, axis=0), strict=True):
        low, high = value.interval
        assert 0.7 < (high - low) / (2 * 1.96 * spread) < 1.4


def test_evaluate_refuses_metrics_by_class(tmp_path):
    with pytest.raises(LamdError, match=r"unknown metric 'cfvd\.gestures\.v1'"):
        evaluate_paths(tmp_path, tmp_path, [NAMES[0]])


def gesture_target(name, protocols, num_test=60):
    tiny = tiny_target()
    fields = tiny.data.model_dump() | {"name": name, "num_test": num_test, "num_frames": 12}
    if name != "bair":
        del fields["camera"]
        fields["on_corrupt"] = "skip"
    evaluate = tiny.evaluate.model_copy(update={"protocols": protocols})
    return tiny.model_copy(update={"data": DataConfig(**fields), "evaluate": evaluate})


def test_row_values_takes_classes_from_the_keys_of_the_clips(tmp_path):
    cell = TablePlan(gesture_target("natops", NAMES), "cpu").values["lamd"]
    inputs, numbers = {}, {"All Clear": 2, "Fire": 23, "Stop": 17}
    for role in cell.parents:
        rows, classes = draw(1 if "fake" in role else 0)
        rows = rows.astype(np.float32)
        keys = [f"natops/test/g{numbers[name]:02d}s02p01@0" for name in classes]
        inputs[role] = folder = tmp_path / role.replace(" ", "-")
        folder.mkdir()
        np.save(folder / FEATURES, rows)
        (folder / "keys.json").write_text(json.dumps(keys))
    assert len(inputs) == 4
    cell.step(tmp_path, inputs)
    (real, real_classes), (fake, fake_classes) = draw(0), draw(1)
    real, fake = real.astype(np.float32), fake.astype(np.float32)
    distances = [
        frechet_distance(real[np.equal(real_classes, name)], fake[np.equal(fake_classes, name)])
        for name in CLASSES
    ]
    values = [value["value"] for value in json.loads((tmp_path / VALUES).read_text())]
    for value, numbers in zip(values, read_per_clip(tmp_path).values(), strict=True):
        assert numbers.mean() == pytest.approx(value)
    assert values == pytest.approx([np.mean(distances), np.std(distances)])


def test_plan_refuses_target_without_classes_or_with_too_few_clips():
    with pytest.raises(LamdError, match="cfvd needs classes, bair has none"):
        TablePlan(gesture_target("bair", NAMES), "cpu")
    with pytest.raises(LamdError, match="num_test 47: cfvd needs 48, two per class"):
        TablePlan(gesture_target("natops", NAMES, 47), "cpu")
    assert not any(metric_for(name).paired for name in NAMES)
