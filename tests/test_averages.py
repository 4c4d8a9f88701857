"""Running averages of weights: recursions, lengths chosen after training, their files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_target, train_both

from lamd.base.errors import LamdError
from lamd.diffusion import as_eps_denoiser, ddim_step
from lamd.generate import trajectory
from lamd.training import load_model, load_paradigm
from lamd.training.averages import (
    LENGTHS,
    coefficients,
    make_ema,
    make_power_average,
    power,
    shares,
    snapshot_path,
    snapshot_steps,
)
from lamd.training.checkpoint import write_json
from lamd.training.networks import read_info

SNAPSHOTS = "train_dmg.ema_snapshots=8"
GUIDED = 'sampler.autoguidance={"scale": 3.0, "snapshot": 2, "steps": [0, 5]}'


def test_ema_is_the_recursion_with_a_warm_up():
    model = torch.nn.BatchNorm1d(2)
    ema = make_ema(model, decay=0.5)
    expected = None
    for step in range(20):
        with torch.no_grad():
            model.weight.copy_(torch.tensor([step, -2.0 * step]))
            model.running_mean.fill_(3.0 * step)
            model.num_batches_tracked.fill_(step)
        ema.update_parameters(model)
        kept = min(0.5, (1 + step) / (10 + step))
        now = torch.tensor([step, -2.0 * step, 3.0 * step])
        expected = now if expected is None else kept * expected + (1 - kept) * now
    got = torch.stack([*ema.module.weight, ema.module.running_mean[0]])
    assert torch.allclose(got, expected)
    assert ema.module.num_batches_tracked == 19
    assert not ema.module.training


def test_powers_are_those_of_edm2():
    # arXiv 2312.02696, section 3.1: gamma = p - 1 of the lengths 0.05 and 0.10
    assert [power(length) - 1 for length in LENGTHS] == pytest.approx([16.97, 6.94], abs=5e-3)


@pytest.mark.parametrize("length", [0.04, 0.1, 0.2])
def test_a_power_average_has_its_length_and_is_the_recursion(length):
    rng, steps = np.random.default_rng(0), 400
    values, model = rng.normal(size=steps), torch.nn.Linear(1, 1, bias=False).double()
    average = make_power_average(model, length)
    for value in values:
        torch.nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    own = shares(length, steps, steps)
    assert average.module.weight.item() == pytest.approx(own @ values, rel=1e-9)
    times = (np.arange(steps) + 0.5) / steps
    mean = own @ times
    assert own.sum() == pytest.approx(1)
    assert np.sqrt(own @ (times - mean) ** 2) == pytest.approx(length, rel=0.01)


def test_snapshots_span_the_other_lengths():
    steps = snapshot_steps(600, 8)
    assert steps == [75, 150, 225, 300, 375, 450, 525, 600]
    assert snapshot_steps(3, 8) == [1, 2, 3]
    stored = np.stack([[shares(own, step, 600) for step in steps] for own in LENGTHS])
    times = (np.arange(600) + 0.5) / 600
    for length, error in ((0.04, 0.04), (0.05, 1e-9), (0.1, 1e-9), (0.15, 0.04), (0.2, 0.1)):
        factors = coefficients(length, steps)
        assert factors.sum() == pytest.approx(1)
        made = np.einsum("ls,lsj->j", factors, stored)
        assert np.abs(made - shares(length, 600, 600)).sum() < error
        assert np.sqrt(made @ (times - made @ times) ** 2) == pytest.approx(length, rel=0.04)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("averages")
    train_both(tiny_target(SNAPSHOTS), folder)
    return folder


def test_a_length_chosen_after_training_is_loaded(trained):
    target, last = tiny_target(SNAPSHOTS), snapshot_path(trained / "dmg", 10)
    stored = load_file(last)
    model = load_model(trained / "dmg", "dmg", target, ema_length=0.1)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, stored[f"0.1.{name}"], rtol=1e-4, atol=1e-6)
    longer = load_model(trained / "dmg", "dmg", target, ema_length=0.2).state_dict()
    assert any(not torch.allclose(t, stored[f"0.1.{name}"]) for name, t in longer.items())


def test_an_earlier_average_guides_the_denoiser(trained):
    rule = {"scale": 3.0, "snapshot": 2, "steps": [1, 99]}
    target = tiny_target(SNAPSHOTS, f"sampler.autoguidance={json.dumps(rule)}")
    folders = {"denoiser": trained / "dmg", "autoencoder": trained / "vae"}
    guided = load_paradigm("latent_motion", target, folders)
    assert guided.earlier is not None and guided.earlier.autoencoder is guided.autoencoder
    stored = load_file(snapshot_path(trained / "dmg", 2))
    for name, tensor in guided.earlier.network.state_dict().items():
        torch.testing.assert_close(tensor, stored[f"0.1.{name}"], rtol=0, atol=0)
    given = guided.encode(torch.rand(2, 3, 16, 16))
    run = trajectory(guided, target.sampler, given, ["a", "b"])
    t, z = next(run)
    s, moved = next(run)
    predictions = [
        paradigm.network(z, torch.full((2,), t), given.condition)
        for paradigm in (guided.earlier, guided)
    ]
    v = predictions[0] + 3 * (predictions[1] - predictions[0])
    denoise = as_eps_denoiser(lambda *_: v, guided.schedule)
    eps_hat = denoise(z, torch.full((2,), t))
    expected = ddim_step(guided.schedule, z, eps_hat, t, s, 0.0, torch.zeros_like)
    torch.testing.assert_close(moved, expected)
    assert load_paradigm("latent_motion", tiny_target(SNAPSHOTS), folders).earlier is None


def test_a_resumed_training_has_the_same_snapshots(trained, tmp_path):
    target = tiny_target(SNAPSHOTS)
    train_both(target, tmp_path, dmg_steps=5)
    train_both(target, tmp_path)
    hashes = [read_info(run / "dmg", stage="dmg").snapshots for run in (trained, tmp_path)]
    assert sorted(hashes[0]) == [1, 2, 3, 5, 6, 7, 8, 10]
    assert hashes[0] == hashes[1]


def test_a_snapshot_that_was_deleted_before_the_end_is_missed(tmp_path):
    train_both(tiny_target(SNAPSHOTS), tmp_path, dmg_steps=5)
    snapshot_path(tmp_path / "dmg", 3).unlink()
    with pytest.raises(LamdError, match=r"step_00000003.*missing; delete .* to train again"):
        train_both(tiny_target(SNAPSHOTS), tmp_path)


def test_damaged_and_missing_snapshots(trained, tmp_path):
    train_both(tiny_target(), tmp_path)
    with pytest.raises(LamdError, match=r"model\.json: trained without ema_snapshots; take"):
        load_model(tmp_path / "dmg", "dmg", ema_length=0.1)
    with pytest.raises(LamdError, match=r"ema_snapshots; take sampler\.autoguidance out"):
        load_model(tmp_path / "dmg", "dmg", snapshot=1)
    path = snapshot_path(trained / "dmg", 6)
    good = path.read_bytes()
    try:
        path.write_bytes(good[:-4])
        with pytest.raises(LamdError, match=r"step_00000006.*damaged .*train again"):
            load_model(trained / "dmg", "dmg", ema_length=0.1)
    finally:
        path.write_bytes(good)


def test_a_step_that_is_no_number_is_refused(trained, tmp_path):
    info = json.loads((trained / "dmg" / "model.json").read_text())
    del info["checksum"]
    write_json(tmp_path / "model.json", info | {"snapshots": {"../../x": "0"}})
    with pytest.raises(LamdError, match=r"model\.json: snapshots.*train again"):
        load_model(tmp_path, "dmg", ema_length=0.1)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sampler.ema_length=0.1"], "sampler.ema_length needs train_dmg.ema_snapshots"),
        ([SNAPSHOTS, "sampler.ema_length=0.3"], "less than or equal to 0.2"),
        (["train_dmg.ema_snapshots=3"], "ema_snapshots below 8"),
        ([GUIDED], "autoguidance.snapshot must be below train_dmg.ema_snapshots"),
        ([SNAPSHOTS, GUIDED, "sampler.autoguidance.snapshot=8"], "snapshot must be below"),
        ([SNAPSHOTS, GUIDED, "sampler.autoguidance.steps=[9,2]"], "steps must rise"),
        ([SNAPSHOTS, GUIDED, "sampler.autoguidance.steps=[0,100]"], "steps must .* below"),
        ([SNAPSHOTS, GUIDED, "sampler.autoguidance.scale=1"], "greater than 1"),
        (["train_dmg.ema_snapshots=11"], "ema_snapshots cannot be above num_steps"),
        (["train_vae.ema_snapshots=2"], "ema_snapshots goes with train_dmg only"),
        (
            [SNAPSHOTS, "baselines=null", "train_dmg.early_stopping={patience: 2}"],
            "ema_snapshots needs early_stopping null",
        ),
    ],
)
def test_combinations_without_effect(overrides, words):
    with pytest.raises(LamdError, match=words):
        tiny_target(*overrides)
