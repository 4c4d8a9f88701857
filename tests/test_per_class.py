"""Class-conditional FVD and its spread against a direct computation, and what it needs."""

import json

import numpy as np
import pytest
import scipy.linalg
from tiny import tiny_target

from lamd.base.errors import LamdError
from lamd.config import DataConfig
from lamd.evaluate import evaluate_paths
from lamd.metrics.per_class import class_distances
from lamd.metrics.protocols import PROTOCOLS, measure_class_features
from lamd.pipeline.graph import make_plan, values_cell
from lamd.pipeline.steps.values import FEATURES, read_values, row_values

CLASSES = ("All Clear", "Fire", "Stop")
NAMES = ("cfvd.gestures.v1", "cfvd_spread.gestures.v1")


def draw(seed, sizes=(40, 60, 50), d=8):
    """Features and classes; classes lie apart and have spreads of their own."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(3 * k + 0.2 * seed, 1 + 0.3 * k, (n, d)) for k, n in enumerate(sizes)]
    return np.concatenate(rows), np.repeat(CLASSES, sizes).tolist()


def direct(a, b):
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(ca @ cb).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)


def test_equal_sets_are_at_zero():
    rows, classes = draw(0)
    for name in NAMES:
        value = measure_class_features(name, rows, classes, rows, classes)
        assert 0 <= value.value < 1e-9


def test_agrees_with_scipy_class_by_class():
    (real, real_classes), (fake, fake_classes) = draw(0), draw(1, (30, 45, 70))
    found = class_distances(real, real_classes, fake, fake_classes)
    expected = {
        name: direct(real[np.equal(real_classes, name)], fake[np.equal(fake_classes, name)])
        for name in CLASSES
    }
    assert found == pytest.approx(expected, rel=1e-9)
    mean, spread = (
        measure_class_features(name, real, real_classes, fake, fake_classes) for name in NAMES
    )
    assert mean.value == pytest.approx(sum(expected.values()) / 3)
    deviations = [(value - mean.value) ** 2 for value in expected.values()]
    assert spread.value == pytest.approx((sum(deviations) / 3) ** 0.5)
    assert (mean.n_real, mean.n_fake, mean.note) == (150, 145, "3 classes")


def test_the_order_of_clips_does_not_matter():
    (real, real_classes), (fake, fake_classes) = draw(0), draw(1)
    order = np.random.default_rng(0).permutation(len(fake))
    shuffled = [fake_classes[k] for k in order]
    one = class_distances(real, real_classes, fake, fake_classes)
    assert class_distances(real, real_classes, fake[order], shuffled) == pytest.approx(one)


def test_right_clips_under_wrong_classes_are_far():
    real, classes = draw(0)
    wrong = draw(1)[0]
    swapped = [CLASSES[(CLASSES.index(name) + 1) % 3] for name in classes]
    right = measure_class_features(NAMES[0], real, classes, wrong, classes).value
    assert measure_class_features(NAMES[0], real, classes, wrong, swapped).value > 20 * right


def test_few_clips_a_class_are_told_and_too_few_refused():
    real, classes = draw(0, (3, 4, 2))
    value = measure_class_features(NAMES[0], real, classes, real, classes)
    assert value.note == "3 classes, the smallest of 2 clips: biased upwards"
    with pytest.raises(LamdError, match="class 'Stop': 1 real and 2 generated clips"):
        class_distances(real[:-1], classes[:-1], real, classes)
    with pytest.raises(LamdError, match="class 'Fire': 4 real and 0 generated clips"):
        class_distances(real, classes, real[:3], classes[:3])
    with pytest.raises(ValueError, match="9 rows of features, but 8 classes"):
        class_distances(real, classes[:-1], real, classes)


def test_lamd_evaluate_has_no_classes_to_go_by(tmp_path):
    with pytest.raises(LamdError, match=r"unknown metric 'cfvd\.gestures\.v1'"):
        evaluate_paths(tmp_path, tmp_path, [NAMES[0]])


def gesture_target(name, protocols, num_test=60):
    tiny = tiny_target()
    fields = tiny.data.model_dump() | {"name": name, "num_test": num_test}
    fields |= {"camera": None, "broken": "skip"} if name != "bair" else {}
    evaluate = tiny.evaluate.model_copy(update={"protocols": protocols})
    return tiny.model_copy(update={"data": DataConfig(**fields), "evaluate": evaluate})


def test_a_row_gets_its_classes_from_the_keys_of_its_clips(tmp_path):
    plan = make_plan(gesture_target("natops", NAMES), "cpu")
    cell = values_cell("lamd", NAMES, plan.clips, "cpu", num_frames=16)
    inputs, numbers = {}, {"All Clear": 2, "Fire": 23, "Stop": 17}
    for parent in cell.parents:
        rows, classes = draw(1 if "lamd" in parent.name else 0)
        keys = [f"natops/test/g{numbers[one]:02d}s02p01@0" for one in classes]
        inputs[parent.name] = folder = tmp_path / parent.name.replace(" ", "-")
        folder.mkdir()
        np.save(folder / FEATURES, rows)
        (folder / "keys.json").write_text(json.dumps(keys))
    assert len(inputs) == 4
    row_values(tmp_path, inputs, "lamd", list(NAMES), 16, 1, "cpu")
    (real, real_classes), (fake, fake_classes) = draw(0), draw(1)
    distances = list(class_distances(real, real_classes, fake, fake_classes).values())
    values = [value["value"] for value in read_values(tmp_path)]
    assert values == pytest.approx([np.mean(distances), np.std(distances)])


def test_a_target_without_classes_or_with_too_few_clips_is_refused():
    with pytest.raises(LamdError, match="cfvd needs classes, bair has none"):
        make_plan(gesture_target("bair", NAMES), "cpu")
    with pytest.raises(LamdError, match="num_test 47: cfvd needs 48, two a class"):
        make_plan(gesture_target("natops", NAMES, 47), "cpu")
    assert not any(PROTOCOLS[name].paired for name in NAMES)
