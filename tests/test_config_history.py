"""Every target and profile resolves to the config it had before the shared bases, renames aside.

`golden/configs_before_bases.json.gz` holds the resolved configs of that time.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lamd.config import load_target

GOLDEN = Path(__file__).with_name("golden") / "configs_before_bases.json.gz"
BEFORE: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
KEYS = {
    "spatial_factor": "spatial_downsampling",
    "temporal_factor": "temporal_downsampling",
    "rivals": "compare_with",
    "broken": "on_corrupt",
}
ROWS = {
    "floor": "real_train",
    "trivial": "copy_first_frame",
    "real": "real_test",
    "shuffled": "permuted_prompts",
}
# Keys that had this value by being left out.
DEFAULTS: dict[str, dict[str, Any]] = {
    "dmg": {"prediction": "eps"},
    "prompt": {"pooled": False},
    "loss": {"mse_weight": None},
    "pixel": {"prediction": "eps"},
    "latent_video": {"prediction": "eps"},
    **{
        f"train_{stage}": {"validation_fraction": None, "early_stopping": None}
        for stage in ("vae", "dmg", "captioner")
    },
}
# Keys of real data sets that came later; what they stand for was Lanczos, and frames 0, s, 2 s, ...
MAGE = {"resize": "pillow_bilinear", "sampling": "interval"}
REAL_DATA: dict[str, dict[str, Any]] = {
    "bair": {}, "landscape": {"resize": "pillow_bilinear", "on_corrupt": "load_truncated"},
    "cater_v1": MAGE, "cater_v2": MAGE, "mug": {"resize": "area"}, "natops": {"resize": "area"},
}  # fmt: skip
# About 1,000 epochs of small sets, not 200,000 steps.
PAPER_TRAINING: dict[str, dict[str, dict[str, Any]]] = {
    "mug": {
        "train_vae": {
            "num_steps": 18000, "warmup_steps": 500,
            "checkpoint_every": 1000, "validate_every": 1000,
        },
        "train_dmg": {
            "num_steps": 5000, "warmup_steps": 250, "checkpoint_every": 500,
            "validate_every": 250, "early_stopping": {"patience": 6},
        },
    },
    "natops": {
        "train_dmg": {
            "num_steps": 48000, "checkpoint_every": 2000, "validate_every": 1000,
            "early_stopping": {"patience": 6},
        },
    },
}  # fmt: skip
OWN_OPTIONS = ("camera", "on_corrupt", "captions", "frame_interval")  # null where not of the set


AUGMENT = {
    "mug": {"variants": 16, "flip": True, "crop": 1.0, "time_jitter": True},
    "natops": {"variants": 8, "flip": False, "crop": 1.0, "time_jitter": True},
}


def column(text: str) -> dict[str, str]:
    return dict(zip(("row", "metric"), text.split(" "), strict=True))


def renamed(tree: Any, name: str = "") -> Any:
    """Return a resolved config with today's keys, rows and places."""
    if isinstance(tree, list):
        return [renamed(entry, name) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    own = {".".join(KEYS.get(part, part) for part in key.split(".")): renamed(value, key)
           for key, value in tree.items()}  # fmt: skip
    if name != "sweep" and not any("." in key for key in own):
        own = DEFAULTS.get(name, {}) | own
    if own.get("base_channels") == 208:
        own["head_channels"] = 16  # 32 does not divide 208: the network could not run
    if "frame_skip" in own:
        kinds = {True: "add", False: "none", "warp": "warp"}
        own["first_frame_residual"] = kinds[own.pop("frame_skip")]
    if name == "dmg":
        own["posterior"] = own.pop("latent")
    if name == "data":
        if own.get("on_corrupt") == "stop":
            own["on_corrupt"] = "raise"
        own = {key: own[key] for key in own if key not in OWN_OPTIONS or own[key] is not None}
    if own.get("kind") == "table":
        own["rows"] = [ROWS.get(row, row) for row in own["rows"]]
        own["runtime"] = {
            "sampling_batch_size": own["sampler"].pop("batch_size"),
            "decoding_batch_size": None,
            "gradient_checkpointing": False,
            "compile": bool(own["sampler"].pop("compile", False)),
            "threads": None,
            "gpus": 0.0,
        }
    if own.get("kind") == "sweep":
        own["runtime"] = {"threads": own.pop("threads"), "gpus": own.pop("gpus")}
        figure = own["figure"]
        if figure["name"] == "curves":
            figure["columns"] = [column(text) for text in figure["columns"]]
        else:
            figure |= {axis: column(figure[axis]) for axis in "xy"}
    return own


def with_micro_batches(tree: Any) -> Any:
    """Return a config with the size of accumulated parts in place of their number."""
    if isinstance(tree, list):
        return [with_micro_batches(entry) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    own = {key: with_micro_batches(value) for key, value in tree.items()}
    if parts := own.pop("gradient_accumulation", None):
        own["micro_batch_size"] = own["batch_size"] // parts if parts > 1 else None
    return own


def with_paper_training(tree: Any) -> Any:
    """Return a config of the paper profile with 5 % held out at most, and epochs of small sets."""
    if isinstance(tree, list):
        return [with_paper_training(entry) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    own = {key: with_paper_training(value) for key, value in tree.items()}
    if own.get("kind") == "table":
        for stage in ("train_vae", "train_dmg", "train_captioner"):
            if own[stage] is not None:
                own[stage] |= {"validation_fraction": 0.05}
        if own["data"]["name"] in AUGMENT:
            own["data"]["augment"] = AUGMENT[own["data"]["name"]]
        for stage, changes in PAPER_TRAINING.get(own["data"]["name"], {}).items():
            own[stage] |= changes
        if own["data"]["name"] == "mug":
            own["loss"]["gan"] |= {"start_step": 4500, "ramp_steps": 450}
    return own


def with_kl_per_pixel(tree: Any) -> Any:
    """Return a config whose KL counts per pixel: as a mean, the paper's beta empties z_m."""
    if isinstance(tree, list):
        return [with_kl_per_pixel(entry) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    own = {key: with_kl_per_pixel(value) for key, value in tree.items()}
    return own | ({"kl_reduction": "per_pixel"} if "kl_reduction" in own else {})


def with_peers_rules(tree: Any) -> Any:
    """Return a config whose real data are resized and loaded as the published methods' are."""
    if not isinstance(tree, dict):
        return tree
    own = {key: with_peers_rules(value) for key, value in tree.items()}
    return own | (REAL_DATA[own["name"]] if own.get("source") == "real" else {})


def with_precision_and_recall(tree: Any) -> Any:
    """Return a config with precisions by MAGE's rules, and recall in place of ours."""
    if isinstance(tree, dict):
        return {key: with_precision_and_recall(value) for key, value in tree.items()}
    if not isinstance(tree, list):
        return tree
    kinds, entries = ("action", "referring_expression"), list(map(with_precision_and_recall, tree))
    if f"{kinds[0]}_precision.v1" not in entries:
        return entries
    at = entries.index(f"{kinds[0]}_precision.v1")
    names = [f"{kind}_{score}.v1" for score in ("precision.mage", "recall") for kind in kinds]
    return entries[:at] + names + entries[at + len(kinds) :]


def with_size_control(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep with d = 12 after each d = 3 that keeps time: as many numbers in z_m."""
    keys = "vae.motion_channels", "vae.temporal_downsampling"
    kept = [point for point in tree["points"] if [point[key] for key in keys] == [3, 4]]
    control = [point | dict(zip(keys, (12, 16), strict=True)) for point in kept]
    return tree | {"points": [*tree["points"], *control]}


def with_another_future(tree: Any) -> Any:
    """Return a config whose tables of simulated data have the row of perfect samples."""
    if isinstance(tree, list):
        return [with_another_future(entry) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    own = {key: with_another_future(value) for key, value in tree.items()}
    if own.get("kind") == "table" and own["rows"][0] == "real_train":
        own["rows"].insert(1, "another_future")
    return own


def with_add_and_ramp(tree: Any, paper: bool) -> Any:
    """Return a config whose D_V fuses by spade or add, and whose lambda rises over a ramp.

    `concat` was `add` with more weights.
    """
    if isinstance(tree, list):
        return [with_add_and_ramp(entry, paper) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    own = {key: with_add_and_ramp(value, paper) for key, value in tree.items()}
    if "fusion" in own:
        own["fusion"] = "spade" if paper else "add"
    if "start_step" in own:
        own["ramp_steps"] = 5000 if paper else 300
    return own


def with_the_model_of_the_tables(tree: dict[str, Any], profile: str) -> dict[str, Any]:
    """Return a cost table that times the model of `table_bair`, quick at widths of its own."""
    table = load_target("table_bair", profile).model_dump(mode="json")
    vae, dmg = table["vae"], table["dmg"]
    layout = {"vae_res_blocks": vae["num_res_blocks"], "fusion": vae["fusion"]}
    layout |= {
        key: dmg[key]
        for key in ("channel_multipliers", "num_res_blocks", "attention_factors", "condition")
    }
    if profile != "quick":
        layout |= {key: dmg[key] for key in ("base_channels", "head_channels", "context_channels")}
        layout |= {
            key: vae[key] for key in vae if key.endswith(("image_channels", "coder_channels"))
        }
    return tree | {"widths": tree["widths"] | layout}


def with_decoding_batches(tree: Any) -> Any:
    """Return a paper profile that decodes eight clips at once, two of 256 x 256."""
    if isinstance(tree, list):
        return [with_decoding_batches(entry) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    own = {key: with_decoding_batches(value) for key, value in tree.items()}
    if own.get("kind") == "table":
        own["runtime"]["decoding_batch_size"] = 2 if own["data"]["size"] == 256 else 8
    return own


def with_mixed_precision(tree: Any) -> Any:
    """Return a reduced config that trains in bf16, and on quick BAIR for fewer steps."""
    if isinstance(tree, list):
        return [with_mixed_precision(entry) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    own = {key: with_mixed_precision(value) for key, value in tree.items()}
    if own.get("kind") == "table":
        for stage in ("train_vae", "train_dmg"):
            own[stage]["precision"] = "bf16"
        if own["target"] == "table_bair" and own["train_vae"]["checkpoint_every"] == 300:
            _shorten(own["train_vae"], {2100: 1500, 700: 500})
            _shorten(own["train_dmg"], {700: 600, 350: 300})
    return own


def _shorten(train: dict[str, Any], steps: dict[int, int]) -> None:
    """Set the steps and intervals that are those of quick `table_bair`."""
    for key in ("num_steps", "checkpoint_every", "validate_every"):
        train[key] = steps.get(train[key], train[key])


@pytest.mark.parametrize("name", BEFORE)
def test_target_resolves_to_the_config_it_had(name):
    target, profile = name.split("/")
    before = renamed(BEFORE[name])
    if target == "fig_timesteps":  # CATER-GEN in the paper
        before["sources"] = renamed(BEFORE[f"fig_samples_cater/{profile}"])["sources"]
    before = with_micro_batches(with_precision_and_recall(before))
    if profile == "paper" or target == "ablation_tradeoff":
        before = with_kl_per_pixel(before)
    before = with_peers_rules(before)
    if target == "ablation_motion_capacity":
        before = with_size_control(before)
    if profile != "paper":
        before = with_mixed_precision(with_another_future(before))
    before = with_add_and_ramp(before, profile == "paper")
    if target == "table_sampling_cost":
        before = with_the_model_of_the_tables(before, profile)
    if target == "fig_cost_vs_frames":
        cost = before["sources"]["table_sampling_cost"]
        before["sources"] = {"table_sampling_cost": with_the_model_of_the_tables(cost, profile)}
    if profile == "paper":
        before = with_paper_training(before)
        before = with_decoding_batches(before)
    assert load_target(target, profile).model_dump(mode="json") == before
