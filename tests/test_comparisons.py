"""What targets compare: rows with LaMD, points with the first, a config with the published one."""

from types import SimpleNamespace

from tiny import tiny_target

from lamd.config import load_target
from lamd.config.sweep import is_seed
from lamd.pipeline.contents import DataFacts
from lamd.targets import KINDS, sweep
from lamd.targets.kind import _deviations


def test_size_and_camera_other_than_the_published_ones_are_deviations():
    smaller = tiny_target("data.camera=image_main")
    assert _deviations(smaller) == ("16x16 pixels", "data.camera image_main, not image_aux1")
    assert _deviations(load_target("table_bair", "paper")) == ()


def test_real_videos_that_are_not_there_are_a_deviation():
    facts = DataFacts(
        content={"train": "a", "test": "b"}, videos={"train": 40_000, "test": 250},
        clips={"train": 40_000, "test": 250}, stand_in=None,
        left_out={"train": [], "test": [(f"bair/test/{n}", "truncated") for n in range(6)]},
    )  # fmt: skip
    paper = load_target("table_bair", "paper")
    assert _deviations(paper, facts) == ("40,000 of 43,264 train videos",)
    assert _deviations(paper, facts.model_copy(update={"stand_in": "bair_sim.v1"})) == ()


class Compared:
    """Records what a target compares."""

    def __init__(self):
        self.calls, self.failed, self.notes = [], {}, []
        self.store = SimpleNamespace(is_complete=lambda _: False)

    def add_row(self, *_):
        pass

    def compare(self, _, here, there, reference):
        self.calls.append((here, there, reference))

    def results(self, *_, **__):
        pass


def test_a_table_compares_its_rows_with_lamd():
    target = tiny_target("rows=[copy_first_frame,reconstruction,lamd]")
    compared = Compared()
    KINDS["table"].collect(target, KINDS["table"].plan(target, "cpu"), compared)
    lamd = [("bair", "lamd", "")]
    rows = ("copy_first_frame", "reconstruction")
    assert compared.calls == [([("bair", row, "")], lamd, "lamd") for row in rows]


def test_a_sweep_compares_its_points_with_the_first():
    config, compared = load_target("ablation_sampler", "quick"), Compared()
    plan = KINDS["sweep"].plan(config, "cpu")
    sweep._compare(config, plan, compared)
    first = next(iter(plan.plans))
    positions = {str([v for k, v in point.items() if not is_seed(k)]) for point in config.points}
    assert len(compared.calls) == (len(positions) - 1) * len(plan.plans[first].values)
    for here, there, reference in compared.calls:
        assert reference == there[0][0] == there[0][2] == first
        assert first not in [point for _, _, point in here]
        assert {row for _, row, _ in here} == {row for _, row, _ in there}


def test_a_sweep_compares_equal_seeds_whatever_their_order_and_number():
    config, compared = load_target("ablation_sampler", "quick"), Compared()
    plan = KINDS["sweep"].plan(config, "cpu")
    names, points = list(plan.plans), [dict(point) for point in config.points]
    (seed,) = filter(is_seed, points[0])
    points[3][seed], points[4][seed], points[5][seed] = 7, points[1][seed], points[0][seed]
    for number in (6, 7, 8):
        points[number][seed] = number
    sweep._compare(SimpleNamespace(axes=config.axes, points=points), plan, compared)
    here, there, reference = compared.calls[0]
    assert [point for *_, point in here] == names[4:6]
    assert [point for *_, point in there] == [names[1], names[0]]
    assert reference == names[0]
    assert not {point for here, *_ in compared.calls for *_, point in here} & {*names[6:9]}


def test_a_sweep_over_seeds_alone_compares_its_rows_with_lamd():
    config, compared = load_target("seeds_bair", "quick"), Compared()
    plan = KINDS["sweep"].plan(config, "cpu")
    sweep._compare(config, plan, compared)
    assert {here[0][1] for here, *_ in compared.calls} >= {"reconstruction", "copy_first_frame"}
    for here, there, reference in compared.calls:
        assert [(source, point) for source, _, point in here] == [(p, p) for p in plan.plans]
        assert there == [(p, "lamd", p) for p in plan.plans] and reference == "lamd"


def test_rows_on_other_test_clips_are_not_compared():
    own, compared = "sweep={data.simulation_seed: [0, 1, 2]}", Compared()
    config = load_target("seeds_bair", "quick", [own])
    sweep._compare(config, KINDS["sweep"].plan(config, "cpu"), compared)
    assert not compared.calls
