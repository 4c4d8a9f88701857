"""Every shipped YAML in every profile loads, builds and plans, and resolves to the config it had.

After an intended change of a config, `python tests/test_experiments.py --write`, and read the diff
of tests/golden/config_hashes.txt: where a line changed, cells are computed again.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lamd.config import (
    PROFILES,
    config_hash,
    describe_target,
    experiments_dir,
    list_targets,
    load_target,
)
from lamd.data.dataset import DATASETS
from lamd.data.vocabulary import Vocabulary
from lamd.models.discriminator import VideoDiscriminator
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import build_vae
from lamd.paradigms.costs import training_flops
from lamd.pipeline.cell import CODE_VERSIONS, Cell, with_ancestors
from lamd.pipeline.graph import TablePlan
from lamd.targets import KINDS
from lamd.targets.kind import Graph
from lamd.targets.table import published_rows
from lamd.training.networks import NETWORKS

KIND_OF = {path.stem: load_target(path.stem, "quick").kind for path in list_targets()}
CASES = [
    (name, profile) for name, kind in KIND_OF.items() if kind == "table" for profile in PROFILES
]


LARGE = {"fig_quality_vs_cost", "ablation_width_latent_video"}


def cases(*kinds: str) -> list:
    """Return all targets of some kinds in all profiles, the costliest in the slow tier."""
    return [
        pytest.param(
            name,
            profile,
            id=f"{name}-{profile}",
            marks=[pytest.mark.slow] if profile == "standard" or name in LARGE else [],
        )
        for name, kind in KIND_OF.items()
        if kind in kinds
        for profile in PROFILES
    ]


SWEEPS, DERIVED = cases("sweep"), cases("figure", "reconstruction_table", "quality")
HASHES = Path(__file__).parent / "golden" / "config_hashes.txt"


def planned(name: str, profile: str) -> Graph:
    config = load_target(name, profile)
    return KINDS[config.kind].plan(config, "cpu")


def cells_of(plan: TablePlan) -> list[Cell]:
    return with_ancestors(plan.values.values())


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def target(request):
    return load_target(*request.param)


def test_list_targets_has_tables_and_figures():
    assert {name for name, _ in CASES} >= {"table_bair", "table_landscape"}
    assert len(DERIVED) >= 9 * len(PROFILES)


@pytest.mark.parametrize(("name", "profile"), DERIVED)
def test_derived_target_adds_no_training(name, profile):
    for source, cells in planned(name, profile).cells().items():
        table = TablePlan(load_target(source, profile), "cpu")
        known = {(cell.name, str(cell.config)) for cell in cells_of(table)}
        trained = [cell for cell in cells if cell.kind in ("data", "vae", "latents", "dmg")]
        assert {(cell.name, str(cell.config)) for cell in trained} <= known
        assert cells[-1].kind in ("figure", "values", "latency")


@pytest.mark.parametrize(("name", "profile"), SWEEPS)
def test_every_point_of_a_sweep_builds_and_differs(name, profile):
    sweep, graph = load_target(name, profile), planned(name, profile)
    assert len(graph.plans) == len(sweep.points) >= 3
    parts = {"unet", "conv3d", "autoencoder"}
    networks = {"data": True, "vae": True, "dmg": True, "loss": True}
    networks["baselines"] = {"pixel": parts, "latent_video": parts}
    targets = [plan.target for plan in graph.plans.values()]
    for target in {target.model_dump_json(include=networks): target for target in targets}.values():
        test_models_build(target)
    assert len({plan.stages["data"].plan_hash for plan in graph.plans.values()}) == 1
    assert sweep.source.scale == ("full" if sweep.source.data.source == "real" else "reduced")


def test_conditioning_sweep_trains_only_the_mcd_vae_of_the_table():
    graph = planned("ablation_conditioning", "standard")
    table = TablePlan(load_target("table_bair", "standard"), "cpu")
    trained = {plan.stages["vae"].plan_hash for plan in graph.plans.values()}
    assert trained == {table.stages["vae"].plan_hash}


def test_no_norm_of_any_network_has_a_group_of_fewer_than_four_channels(target):
    prompt = target.dmg.prompt
    vocabulary = Vocabulary(prompt.kind, ("[PAD]", "a", "b")) if prompt else None
    stages = ["vae", "dmg", *(["captioner"] if target.captioner else [])]
    if target.baselines is not None:
        stages += ["pixel", "video_vae", "latent_video"]
    with torch.device("meta"):
        networks = {stage: NETWORKS[stage].build(target, vocabulary) for stage in stages}
        if target.loss.gan is not None:
            networks["discriminator"] = VideoDiscriminator(target.loss.gan)
    norms = {
        (stage, name): module
        for stage, network in networks.items()
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.GroupNorm)
    }
    assert {stage for stage, _ in norms} == set(networks)
    small = {at: n.num_channels for at, n in norms.items() if n.num_channels < 4 * n.num_groups}
    assert small == {}
    assert all(n.num_groups <= 32 for n in norms.values())


def test_models_build(target):
    with torch.device("meta"):
        vae = build_vae(target.vae, target.data)
        prompt = target.dmg.prompt
        vocabulary = Vocabulary(prompt.kind, ("[PAD]", "a", "b")) if prompt else None
        dmg = build_dmg(target, vocabulary)
        if target.loss.gan is not None:
            VideoDiscriminator(target.loss.gan)
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
    token_ids = t.new_empty(2, prompt.max_tokens or 1) if prompt else None
    assert dmg(z, t, f_x0, token_ids).shape == z.shape


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_another_generator_changes_the_data_cell_of_a_stand_in(profile, monkeypatch):
    target = load_target("table_bair", profile)
    before = TablePlan(target, "cpu").stages["data"].config
    monkeypatch.setitem(DATASETS, "bair", replace(DATASETS["bair"], generator="another"))
    assert (TablePlan(target, "cpu").stages["data"].config != before) == (profile == "quick")


def test_plans_and_published_rows_exist(target):
    plan = TablePlan(target, "cpu")
    names = [cell.name for cell in cells_of(plan)]
    assert len(names) == len(set(names))
    seen = set()
    for cell in cells_of(plan):
        assert cell.kind in CODE_VERSIONS
        assert {parent.name for parent in cell.parents.values()} <= seen
        seen.add(cell.name)
    assert set(plan.values) == set(target.rows)
    assert all(plan.row_protocols(row) for row in target.rows)
    assert ("lamd" in published_rows(target)) == (target.published is not None)


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_stage_key_holds_only_its_dependencies(name):
    target = load_target(name, "quick")

    def configs(changed):
        cells = cells_of(TablePlan(changed, "cpu"))
        return {cell.name: cell.config for cell in cells if cell.name in ("data", "vae", "dmg")}

    sampler = target.sampler.model_copy(update={"seed": 99})
    assert configs(target.model_copy(update={"sampler": sampler})) == configs(target)
    train = target.train_dmg.model_copy(update={"seed": 99})
    changed = configs(target.model_copy(update={"train_dmg": train}))
    assert changed["vae"] == configs(target)["vae"]
    assert changed["dmg"] != configs(target)["dmg"]


def test_paper_profile_has_the_sizes_of_the_paper():
    target = load_target("table_bair", "paper")
    assert (target.scale, target.data.source) == ("full", "real")
    assert (target.sampler.num_steps, target.dmg.num_train_steps) == (200, 1000)
    assert (target.vae.spatial_downsampling, target.vae.temporal_downsampling) == (4, 16)
    with torch.device("meta"):
        count = sum(p.numel() for p in build_dmg(target).parameters())
    assert count == pytest.approx(336e6, rel=0.03)


def config_hashes() -> str:
    """Return a line `target profile config_hash` for every shipped target and profile."""
    return "".join(
        f"{path.stem} {profile} {config_hash(load_target(path.stem, profile))}\n"
        for path in list_targets()
        for profile in describe_target(path)[1]
    )


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES if name.startswith("table")}))
def test_paper_tables_ask_a_cluster_for_a_gpu_and_threads(name):
    runtime = load_target(name, "paper").runtime
    assert (runtime.gpus, runtime.threads) == (1, 8)


def test_a_rollout_names_the_weights_of_its_fvd():
    graph = KINDS["figure"].plan(load_target("fig_rollout_bair", "quick"), "cpu")
    ((cell,),) = graph.wanted.values()
    assert cell.weights == ("i3d-kinetics-400",)


def test_config_hashes_are_golden():
    assert config_hashes() == HASHES.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(experiments_dir().glob("*.yaml")), ids=lambda p: p.name)
def test_yaml_comments_tag_only_paper_and_reported(path):
    # "ours" is the default, and is no tag
    assert not re.search(r"# ours\b", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("profile", PROFILES)
def test_parts_of_the_decoder_are_compared_at_equal_flops(profile):
    targets = load_target("ablation_decoder", profile).targets().values()
    flops = {
        target.train_vae.num_steps * training_flops(target, "latent_motion", "autoencoder")
        for target in targets
    }
    assert max(flops) < 1.002 * min(flops)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_experiments.py --write")
    HASHES.write_text(config_hashes(), encoding="utf-8")


def test_keys_that_move_no_weight_are_no_part_of_a_training():
    def hashes(*overrides):
        stages = TablePlan(load_target("table_cater_v1", "quick", overrides), "cpu").stages
        return [stages[name].plan_hash for name in ("vae", "latents", "dmg", "captioner")]

    changes = ("log_every=1", "checkpoint_every=7", "keep_last=1")
    stages = ("train_vae", "train_dmg", "train_captioner")
    assert hashes(*(f"{s}.{change}" for s in stages for change in changes)) == hashes()
    moved = zip(hashes("train_dmg.validate_every=9"), hashes(), strict=True)
    assert [one != other for one, other in moved] == [False, False, True, False]
