"""Checkpoints and final models: complete or absent, and believed only after a check."""

import json
import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_target, train_both

from lamd.base.errors import LamdError
from lamd.base.files import replace_folder, sha256_of
from lamd.training import checkpoint as ckpt
from lamd.training.checkpoint import write_json
from lamd.training.networks import load_model, read_info, write_final

CONFIG = {"vae": {"motion_channels": 3, "fusion": "spade"}, "seed": 0}


WEIGHT = torch.zeros(3, 2)
EXPECTED = ckpt.Expected(
    {"model.w": WEIGHT, "ema.w": WEIGHT},
    [[{"step": torch.zeros(()), "exp_avg": WEIGHT, "exp_avg_sq": WEIGHT}]],
)


def save(folder: Path, step: int, value: float = 0.0, changed=lambda weights, state: None) -> Path:
    weights = {"model.w": torch.full((3, 2), value), "ema.w": torch.zeros(3, 2)}
    moments = {name: torch.ones(3, 2) for name in ("exp_avg", "exp_avg_sq")}
    state = {"optimizers": [{"state": {0: {"step": torch.tensor(float(step)), **moments}}}],
             "scaler": None, "ema_count": step, "best_step": None, "best_value": math.inf,
             "seconds": 1.5}  # fmt: skip
    changed(weights, state)
    point = ckpt.Checkpoint(step, weights, state, {"l1": value})
    return ckpt.write_checkpoint(folder, point, config=CONFIG, run_id="me")


def newest(folder: Path, config: dict = CONFIG, run_id: str = "me"):
    return ckpt.newest_good(folder, config=config, run_id=run_id, expected=EXPECTED)


def moments(state: dict) -> dict:
    return state["optimizers"][0]["state"][0]


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_checkpoint_is_read_as_it_is_written(tmp_path):
    save(tmp_path, 10, 0.5)
    loaded, said = newest(tmp_path)
    assert (loaded.step, loaded.validation, said) == (10, {"l1": 0.5}, [])
    assert torch.equal(loaded.part("model")["w"], torch.full((3, 2), 0.5))
    assert list(loaded.part("ema")) == ["w"]
    assert loaded.state["optimizers"][0]["state"][0]["step"] == 10


def test_none_yet(tmp_path):
    assert newest(tmp_path) == (None, [])


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "meta.json"])
@pytest.mark.parametrize("harm", [flip, truncate, os.remove])
def test_damaged_newest_falls_back_and_is_kept_aside(tmp_path, name, harm):
    save(tmp_path, 10)
    harm(save(tmp_path, 20) / name)
    loaded, said = newest(tmp_path)
    assert loaded.step == 10
    assert len(said) == 1
    assert "step_00000020" in said[0]
    assert name in said[0]
    assert "continuing from step_00000010" in said[0]
    assert (tmp_path / "checkpoints" / "step_00000020.damaged").is_dir()
    assert newest(tmp_path)[1] == []


def test_none_good_is_an_error_each_time(tmp_path):
    for step in (10, 20):
        flip(save(tmp_path, step) / "weights.safetensors")
    for _ in range(2):
        with pytest.raises(LamdError) as error:
            newest(tmp_path)
        one_line(error, "step_00000020", "none of 2 checkpoints", "delete")


def test_other_config_names_the_first_differing_key(tmp_path):
    save(tmp_path, 10)
    other = {"vae": {"motion_channels": 4, "fusion": "add"}, "seed": 0}
    with pytest.raises(LamdError) as error:
        newest(tmp_path, config=other)
    one_line(error, "vae.fusion is 'spade' there and 'add' here")
    with pytest.raises(LamdError) as error:
        newest(tmp_path, config={**CONFIG, "new": 1})
    one_line(error, "new is None there and 1 here")


def test_checkpoint_of_another_run_is_refused(tmp_path):
    save(tmp_path, 10)
    with pytest.raises(LamdError) as error:
        newest(tmp_path, run_id="you")
    one_line(error, "me there, you here")


def test_hostile_pickle_runs_nothing(tmp_path):
    trap = tmp_path / "trap"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    save(tmp_path, 10)
    path = save(tmp_path, 20)
    torch.save({"optimizers": Hostile()}, path / "state.pt")
    approve(path)
    loaded, said = newest(tmp_path)
    assert loaded.step == 10
    assert "state.pt" in said[0]
    assert not trap.exists()
    (path := save(tmp_path, 30)).joinpath("state.pt").write_bytes(
        pickle.dumps(Hostile(), protocol=2)
    )
    approve(path)
    assert "state.pt" in newest(tmp_path)[1][0]
    assert not trap.exists()


def approve(path: Path, **changes: object) -> None:
    """Make the checksums right again, as one who wants the file to be loaded would."""
    meta = json.loads((path / "meta.json").read_text())
    del meta["checksum"]
    meta["sha256"] = {name: sha256_of(path / name) for name in meta["sha256"]}
    write_json(path / "meta.json", meta | changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weights, _: weights["model.w"].fill_(math.nan), "model.w is not finite"),
        (lambda weights, _: weights["ema.w"].fill_(math.inf), "ema.w is not finite"),
        (lambda weights, _: weights.update({"model.w": torch.zeros(2, 3)}), "other tensors"),
        (lambda weights, _: weights.update({"ema.w": torch.zeros(3, 2).half()}), "other tensors"),
        (lambda weights, _: weights.pop("ema.w"), "other tensors"),
        (lambda weights, _: weights.update({"more": torch.zeros(1)}), "other tensors"),
        (lambda _, state: moments(state)["exp_avg"].fill_(math.nan), "exp_avg is not finite"),
        (lambda _, state: moments(state).update(exp_avg=torch.ones(6)), "other tensors"),
        (lambda _, state: moments(state).update(exp_avg=[1.0]), "other tensors"),
        (lambda _, state: moments(state).pop("step"), "other tensors"),
        (
            lambda _, state: state["optimizers"][0].update(state={7: moments(state)}),
            "other tensors",
        ),
        (lambda _, state: state["optimizers"].clear(), "other optimizers"),
        (lambda _, state: state.update(scaler={"scale": 1.0}), "other optimizers"),
        (lambda _, state: state.update(scaler={"scale": math.nan}), "scaler.scale"),
        (lambda _, state: state.update(optimizers=None), "optimizers: Input should be"),
        (lambda _, state: state.update(ema_count="3"), "ema_count: Input should be"),
        (lambda _, state: state.pop("seconds"), "seconds: Field required"),
    ],
)
def test_newest_checkpoint_that_does_not_fit_falls_back(tmp_path, change, reason):
    save(tmp_path, 10)
    save(tmp_path, 20, changed=change)
    loaded, said = newest(tmp_path)
    assert loaded.step == 10
    (line,) = said
    assert reason in line and "step_00000020" in line and "\n" not in line


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "x"}, {"step": -1}, {"step": 30}, {"config": None}, {"config": []},
        {"identity": None}, {"sha256": []}, {"sha256": {}}, {"validation": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_description_of_another_shape_falls_back(tmp_path, changes):
    save(tmp_path, 10)
    approve(save(tmp_path, 20), **changes)
    assert newest(tmp_path)[0].step == 10


def test_unfit_checkpoints_alone_say_what_to_delete(tmp_path):
    save(tmp_path, 10, value=math.nan)
    with pytest.raises(LamdError) as error:
        newest(tmp_path)
    one_line(error, "model.w is not finite", f"delete {tmp_path / 'checkpoints'}")


def test_other_format_version(tmp_path):
    path = save(tmp_path, 10)
    approve(path, format=99)
    with pytest.raises(LamdError) as error:
        newest(tmp_path)
    one_line(error, "format 99")


def test_weights_that_are_no_safetensors(tmp_path):
    save(tmp_path, 10)
    path = save(tmp_path, 20)
    (path / "weights.safetensors").write_bytes(b"not weights")
    approve(path)
    assert "not a safetensors file" in newest(tmp_path)[1][0]


def test_prune_keeps_the_last_and_the_best(tmp_path):
    for step in range(10, 70, 10):
        save(tmp_path, step)
    ckpt.prune(tmp_path, keep_last=2, best_step=20)
    kept = [path.name for path in ckpt.list_checkpoints(tmp_path)]
    assert kept == ["step_00000060", "step_00000050", "step_00000020"]


def test_interrupted_write_leaves_no_checkpoint_and_is_cleaned(tmp_path):
    save(tmp_path, 10)
    target = ckpt.checkpoint_path(tmp_path, 20)

    def stopped(folder: Path) -> None:
        (folder / "weights.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_folder(target, stopped)
    assert [p.name for p in ckpt.list_checkpoints(tmp_path)] == ["step_00000010"]
    ckpt.clean_temporary(tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step_00000010"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    steps = [
        f"{s}.{k}=2" for s in ("train_vae", "train_dmg") for k in ("num_steps", "validate_every")
    ]
    warmup = ["train_vae.warmup_steps=0", "train_dmg.warmup_steps=0", "loss.gan=null"]
    train_both(tiny_target(*steps, *warmup), folder)
    return folder


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained / "vae" / name).read_bytes())
    return tmp_path


def test_final_model_loads_frozen_and_in_eval_mode(trained):
    vae = load_model(trained / "vae", "vae", tiny_target(), run_id="v")
    assert not vae.training
    assert not any(p.requires_grad for p in vae.parameters())
    assert vae.latent_std.min() > 0
    assert load_model(trained / "dmg", "dmg", tiny_target(), run_id="d").training is False
    info = read_info(trained / "vae", stage="vae")
    assert info.step == 2
    assert info.num_parameters == sum(p.numel() for p in vae.parameters())
    assert info.validation["psnr"] > 0


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("harm", [flip, truncate, os.remove])
def test_damaged_final_model(copy, name, harm):
    harm(copy / name)
    with pytest.raises(LamdError) as error:
        load_model(copy, "vae")
    one_line(error, name, "train again")


def test_final_model_of_another_config(copy):
    with pytest.raises(LamdError) as error:
        load_model(copy, "vae", tiny_target("vae.motion_channels=3"))
    one_line(error, "vae.motion_channels is 2 there and 3 here")
    with pytest.raises(LamdError) as error:
        load_model(copy, "vae", tiny_target("data.size=32"))
    one_line(error, "data.size is 16 there and 32 here")


def test_final_model_of_another_identity_or_stage(copy):
    with pytest.raises(LamdError) as error:
        load_model(copy, "vae", run_id="w")
    one_line(error, "v there", "w here")
    with pytest.raises(LamdError) as error:
        load_model(copy, "dmg")
    one_line(error, "stage 'vae'")


def test_final_model_with_other_tensors_or_no_safetensors(copy):
    info = json.loads((copy / "model.json").read_text())
    del info["sha256"], info["checksum"]
    write_final(copy, {"w": torch.zeros(2)}, info)
    with pytest.raises(LamdError) as error:
        load_model(copy, "vae")
    one_line(error, "other tensors")
    (copy / "model.safetensors").write_bytes(b"\x00" * 99)
    info["sha256"] = sha256_of(copy / "model.safetensors")
    write_json(copy / "model.json", info)
    with pytest.raises(LamdError) as error:
        load_model(copy, "vae")
    one_line(error, "not a safetensors file")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_final_model_that_is_not_finite(copy, value):
    weights = load_file(copy / "model.safetensors")
    weights["latent_mean"].fill_(value)
    info = json.loads((copy / "model.json").read_text())
    del info["sha256"], info["checksum"]
    write_final(copy, weights, info)
    with pytest.raises(LamdError) as error:
        load_model(copy, "vae")
    one_line(error, "model.safetensors", "is not finite", "train again")


@pytest.mark.parametrize(
    "changes", [{"target": {}}, {"stage": 1}, {"sha256": None}, {"seconds": []}]
)
def test_description_of_a_final_model_of_another_shape(copy, changes):
    info = json.loads((copy / "model.json").read_text())
    del info["checksum"]
    write_json(copy / "model.json", info | changes)
    with pytest.raises(LamdError) as error:
        load_model(copy, "vae")
    one_line(error, "model.json", *changes, "train again")
