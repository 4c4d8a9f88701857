"""Every shipped YAML in every profile loads, builds, plans, and says where its choices are from."""

import re

import pytest
import torch
import yaml

from lamd.config import PROFILES, experiments_dir, list_targets, load_target
from lamd.data.stand_in import GENERATORS
from lamd.data.vocabulary import Vocabulary
from lamd.execute.schedule import identity
from lamd.models.discriminator import build_discriminator
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import build_vae
from lamd.pipeline.graph import make_plan, row_protocols
from lamd.pipeline.kinds import CODE_VERSIONS
from lamd.targets.reporting import published_rows
from lamd.targets.reproduce import planned_cells
from lamd.targets.sweep import plan_sweep

TREES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in list_targets()}
KINDS = {name: tree.get("kind", "table") for name, tree in TREES.items()}  # a table's: in its base
CASES = [(name, profile) for name, kind in KINDS.items() if kind == "table" for profile in PROFILES]
SWEEPS = [
    (name, profile) for name, kind in KINDS.items() if kind == "sweep" for profile in PROFILES
]
DERIVED = [(name, profile) for name, tree in TREES.items() if "sources" in tree
           and KINDS[name] not in ("sweep", "cost_figure") for profile in PROFILES]  # fmt: skip
TAGS = ("paper", "reported", "ours")
# A key inside a part, with a value on its line; its comment starts with where the value is from.
SETTING = re.compile(r" {2,}(?P<key>\w+): +[^#{\s][^#]*(# *(?P<comment>.*))?$")
HOUSEKEEPING = ("scale", "log_every", "checkpoint_every", "validate_every", "keep_last", "seed",
                "num_validation_clips", "name", "gpus")  # fmt: skip


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def target(request):
    return load_target(*request.param)


def test_there_are_targets():
    assert {name for name, _ in CASES} >= {"table_bair", "table_landscape"}
    assert len({name for name, _ in DERIVED}) >= 9


@pytest.mark.parametrize(("name", "profile"), DERIVED, ids=["-".join(case) for case in DERIVED])
def test_what_shows_other_targets_adds_no_training(name, profile):
    derived = load_target(name, profile)
    for source, cells in planned_cells(derived, "cpu").items():
        table = make_plan(load_target(source, profile), "cpu")
        known = {(cell.name, str(cell.config)) for cell in table.cells()}
        trained = [cell for cell in cells if cell.kind in ("data", "vae", "latents", "dmg")]
        assert {(cell.name, str(cell.config)) for cell in trained} <= known
        assert cells[-1].kind in ("figure", "values", "latency")


@pytest.fixture(params=SWEEPS, ids=["-".join(case) for case in SWEEPS])
def sweep(request):
    return load_target(*request.param)


def test_every_point_of_a_sweep_builds_and_differs(sweep):
    plan = plan_sweep(sweep, "cpu")
    assert len(plan.plans) == len(sweep.points) >= 4
    for target in plan.targets.values():
        test_models_build(target)
    data = {identity(one.stages["data"]) for one in plan.plans.values()}
    assert len(data) == 1
    assert sweep.source.scale == ("full" if sweep.source.data.source == "real" else "reduced")


def test_the_conditioning_sweep_trains_one_mcd_vae_that_of_the_table():
    plan = plan_sweep(load_target("ablation_conditioning", "standard"), "cpu")
    table = make_plan(load_target("table_bair", "standard"), "cpu")
    found = {identity(one.stages["vae"]) for one in plan.plans.values()}
    assert found == {identity(table.stages["vae"])}


def test_models_build(target):
    with torch.device("meta"):
        vae = build_vae(target.vae, target.data)
        prompt = target.dmg.prompt
        vocabulary = Vocabulary(prompt.kind, ("[PAD]", "a", "b")) if prompt else None
        dmg = build_dmg(target, vocabulary)
        if target.loss.gan is not None:
            build_discriminator(target.loss.gan)
    d, *time, h, w = vae.latent_shape
    assert (d, h) == (
        target.vae.motion_channels,
        target.data.size // target.vae.spatial_downsampling,
    )
    kept = target.data.num_frames // target.vae.temporal_downsampling
    assert time == ([] if kept == 1 else [kept])
    z = torch.empty(2, *vae.latent_shape, device="meta")
    f_x0 = torch.empty(2, target.vae.image_channels[-1], h, w, device="meta")
    t = torch.empty(2, dtype=torch.int64, device="meta")
    words = t.new_empty(2, prompt.max_tokens or 1) if prompt else None
    assert dmg(z, t, f_x0, words).shape == z.shape


def test_another_generator_makes_other_data_cells(target, monkeypatch):
    def config():
        return make_plan(target, "cpu").stages["data"].config

    before = config()
    monkeypatch.setitem(GENERATORS, target.data.name, "another")
    assert (config() != before) == (target.data.source == "simulated")


def test_plans_and_published_rows_exist(target):
    plan = make_plan(target, "cpu")
    names = [cell.name for cell in plan.cells()]
    assert len(names) == len(set(names))
    seen = set()
    for cell in plan.cells():
        assert cell.kind in CODE_VERSIONS
        assert {parent.name for parent in cell.parents} <= seen
        seen.add(cell.name)
    assert set(plan.rows) == set(target.rows)
    assert all(row_protocols(target, row) for row in target.rows)
    assert ("lamd" in published_rows(target)) == (target.published is not None)


def test_only_what_a_stage_depends_on_is_in_its_key(target):
    def configs(changed):
        cells = make_plan(changed, "cpu").cells()
        return {cell.name: cell.config for cell in cells if cell.name in ("data", "vae", "dmg")}

    sampler = target.sampler.model_copy(update={"seed": 99})
    assert configs(target.model_copy(update={"sampler": sampler})) == configs(target)
    train = target.train_dmg.model_copy(update={"seed": 99})
    changed = configs(target.model_copy(update={"train_dmg": train}))
    assert changed["vae"] == configs(target)["vae"]
    assert changed["dmg"] != configs(target)["dmg"]


def test_the_paper_profile_is_the_paper():
    target = load_target("table_bair", "paper")
    assert (target.scale, target.data.source) == ("full", "real")
    assert (target.sampler.num_steps, target.dmg.num_train_steps) == (200, 1000)
    assert (target.vae.spatial_downsampling, target.vae.temporal_downsampling) == (4, 16)
    with torch.device("meta"):
        count = sum(p.numel() for p in build_dmg(target).parameters())
    assert count == pytest.approx(336e6, rel=0.03)


@pytest.mark.parametrize("path", sorted(experiments_dir().glob("*.yaml")), ids=lambda p: p.name)
def test_every_choice_of_the_method_has_a_source_tag(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        setting = SETTING.match(line)
        if setting and setting["key"] not in HOUSEKEEPING:
            assert setting["comment"].startswith(TAGS), f"{path.name}:{number}: no source tag"
