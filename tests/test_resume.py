"""A run that was stopped and goes on ends with the bits of one that was not."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import HERE, records, tiny_target, train_both

from lamd.training.checkpoint import checkpoint_path, list_checkpoints


def same_bits(a: Path, b: Path) -> None:
    """Compare final weights, and of the last checkpoint all weights and the whole state."""
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    last = [list_checkpoints(folder)[0] for folder in (a, b)]
    weights = [load_file(path / "weights.safetensors") for path in last]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    states = [torch.load(path / "state.pt", weights_only=True) for path in last]
    for state in states:
        del state["seconds"]
    assert str(states[0]) == str(states[1])
    for left, right in zip(*(state["optimizers"] for state in states), strict=True):
        for number, moments in left["state"].items():
            for name, tensor in moments.items():
                assert torch.equal(tensor, right["state"][number][name])


def trained_steps(folder: Path) -> list[int]:
    return [record["step"] for record in records(folder) if record["group"] == "train"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train_both(tiny_target(), folder)
    return folder


def test_ten_steps_are_five_and_five(whole, tmp_path):
    train_both(tiny_target(), tmp_path, vae_steps=5)
    assert not (tmp_path / "vae" / "model.json").exists()
    train_both(tiny_target(), tmp_path, dmg_steps=5)
    assert not (tmp_path / "dmg" / "model.json").exists()
    train_both(tiny_target(), tmp_path)
    assert any(k.startswith("adversary.") for k in last_weights(tmp_path / "vae"))
    for stage in ("vae", "dmg"):
        same_bits(whole / stage, tmp_path / stage)


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(folder)[0] / "weights.safetensors")


def test_a_training_goes_on_with_other_bookkeeping(whole, tmp_path):
    train_both(tiny_target(), tmp_path, vae_steps=5)
    keys = ("log_every=3", "checkpoint_every=4", "keep_last=1")
    changes = [f"train_{stage}.{key}" for stage in ("vae", "dmg") for key in keys]
    train_both(tiny_target(*changes, "data.num_test=3"), tmp_path)
    for stage in ("vae", "dmg"):
        models = [folder / stage / "model.safetensors" for folder in (whole, tmp_path)]
        assert models[0].read_bytes() == models[1].read_bytes()


def test_stop_before_and_after_the_adversary_starts(whole, tmp_path):
    for steps in (2, 3, 4, 8):
        train_both(tiny_target(), tmp_path, vae_steps=steps)
    train_both(tiny_target(), tmp_path)
    same_bits(whole / "vae", tmp_path / "vae")


def test_damaged_newest_checkpoint_costs_only_time(whole, tmp_path, capsys):
    train_both(tiny_target(), tmp_path, vae_steps=5)
    train_both(tiny_target(), tmp_path, vae_steps=8)
    weights = checkpoint_path(tmp_path / "vae", 8) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    train_both(tiny_target(), tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert len(said) == 1
    assert "continuing from step_00000005" in said[0]
    same_bits(whole / "vae", tmp_path / "vae")
    assert [r["step"] for r in records(tmp_path / "vae") if r["group"] == "train"] == [
        *range(1, 11)
    ]


def test_log_has_each_step_once_with_the_same_values(whole, tmp_path):
    train_both(tiny_target(), tmp_path, vae_steps=5)
    log = tmp_path / "vae" / "log.jsonl"
    beyond = json.dumps({"step": 6, "group": "train", "loss": 9.0})
    log.write_text(log.read_text() + beyond + "\n" + '{"step": 7, "gro')
    train_both(tiny_target(), tmp_path)
    ours, theirs = records(tmp_path / "vae"), records(whole / "vae")
    timing = ("seconds", "clips_per_s")
    for record in (*ours, *theirs):
        for key in timing:
            record.pop(key, None)
    assert ours == theirs


def test_finished_run_is_left_as_it_is(whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    train_both(tiny_target(), whole)
    assert before == {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "override",
    ["train_vae.ema_decay=null", "loss.gan.adaptive=false", "train_vae.optimizer=muon"],
)
def test_other_settings_resume_bit_for_bit(tmp_path, override):
    target = tiny_target(override, "train_vae.num_steps=6", "train_vae.micro_batch_size=2")
    for folder, stops in ((tmp_path / "a", (6,)), (tmp_path / "b", (4, 6))):
        for steps in stops:
            train_both(target, folder, vae_steps=steps)
    same_bits(tmp_path / "a" / "vae", tmp_path / "b" / "vae")


def child(folder: Path, *overrides: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(HERE / "tiny.py"), str(folder), *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    return errors


@pytest.mark.slow
def test_killed_with_sigkill_and_started_again(tmp_path):
    steps = [f"train_{s}.num_steps=60" for s in ("vae", "dmg")]
    finish(child(tmp_path / "whole", *steps))
    killed = tmp_path / "killed"
    for stage, least in (("vae", 7), ("vae", 41), ("dmg", 23)):
        process = child(killed, *steps)
        log = killed / stage / "log.jsonl"
        while process.poll() is None and not (log.is_file() and records_until(log) >= least):
            time.sleep(0.002)
        assert process.poll() is None, "ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (killed / stage / "model.json").exists()
    finish(child(killed, *steps))
    for stage in ("vae", "dmg"):
        same_bits(tmp_path / "whole" / stage, killed / stage)
        assert trained_steps(killed / stage) == [*range(1, 61)]


def records_until(log: Path) -> int:
    whole_lines = log.read_text().split("\n")[:-1]
    return json.loads(whole_lines[-1])["step"] if whole_lines else 0


def one_and_two_processes(folder: Path, *overrides: str) -> None:
    finish(child(folder / "one", *overrides))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [
        child(folder / "two", *overrides, RANK=str(r), LOCAL_RANK=str(r), **group) for r in range(2)
    ]
    for process in ranks:
        finish(process)


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["vae.normalisation=layer", "train_vae.micro_batch_size=2"],
        # Shares of 1, 1 and 1, 2 clips. With the hinge, the gradient of D's last bias is rounding.
        [
            "train_vae.batch_size=5",
            "train_vae.micro_batch_size=2",
            "loss.gan.loss=bce",
            "baselines=null",
            "train_dmg.early_stopping={patience: 1}",
            "train_dmg.validate_every=1",
        ],
    ],
)
def test_two_processes_give_the_losses_of_one(tmp_path, extra):
    # The adaptive weight is a ratio of gradients, in which rounding grows from step to step.
    one_and_two_processes(tmp_path, "loss.gan.adaptive=false", *extra)
    for stage in ("vae", "dmg"):
        one, two = (records(tmp_path / n / stage) for n in ("one", "two"))
        assert [r["step"] for r in one] == [r["step"] for r in two]
        for left, right in zip(one, two, strict=True):
            # not the sum of the VAE's terms, of which the hinge term has either sign and cancels
            keys = {"vae": {"l1", "kl", "adversary"} & left.keys(), "dmg": {"eps_mse"}}[stage]
            for key in keys:
                assert right[key] == pytest.approx(left[key], rel=1e-4), key


@pytest.mark.slow
def test_two_processes_begin_with_the_adaptive_weight_of_one(tmp_path):
    one_and_two_processes(tmp_path)
    one, two = (
        next(r["gan_weight"] for r in records(tmp_path / n / "vae") if "gan_weight" in r)
        for n in ("one", "two")
    )
    assert two == pytest.approx(one, rel=1e-4)
