"""Muon against PyTorch's own, which takes matrices only, and against AdamW."""

import pytest
import torch
from safetensors.torch import load_file
from small import small_dmg, small_vae
from tiny import TinyVideos, tiny_target
from torch import nn
from torch.optim import AdamW

from lamd.base.errors import LamdError
from lamd.training import train
from lamd.training.checkpoint import checkpoint_path
from lamd.training.muon import MuonAdamW, matrices, orthogonalise
from lamd.training.networks import NETWORKS

OPTIONS = {"lr": 0.02, "weight_decay": 0.1}


def steps(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], grads) -> None:
    for grad in grads:
        for weight, g in zip(weights, grad, strict=True):
            weight.grad = g.reshape(weight.shape).clone(memory_format=torch.preserve_format)
        optimizer.step()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has Muon from 2.9 on")
@pytest.mark.parametrize("shape", [(16, 8, 3, 3, 3), (24, 16, 3, 3), (64, 8), (8, 24, 1, 4, 4)])
def test_a_convolution_is_stepped_as_its_matrix_by_pytorch(shape):
    torch.manual_seed(0)
    conv = nn.Parameter(torch.randn(shape))
    if len(shape) == 5:
        conv = nn.Parameter(conv.detach().to(memory_format=torch.channels_last_3d))
    matrix = nn.Parameter(conv.detach().flatten(1).contiguous())
    other = nn.Parameter(torch.randn(shape))  # of equal shape: both are stepped together
    grads = torch.randn(4, 2, *matrix.shape)
    steps(MuonAdamW([conv, other], {conv, other}, **OPTIONS), [conv, other], grads)
    theirs = torch.optim.Muon([matrix], adjust_lr_fn="match_rms_adamw", momentum=0.95, **OPTIONS)
    steps(theirs, [matrix], grads[:, :1])
    assert torch.allclose(conv.flatten(1), matrix, rtol=0, atol=2e-4)


def test_other_weights_are_stepped_by_adamw_alone():
    torch.manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.ones(8, 8)), nn.Parameter(torch.ones(8))] for _ in "ab")
    grads = [(torch.randn(8, 8), torch.randn(8)) for _ in range(3)]
    steps(MuonAdamW(ours, {ours[0]}, betas=(0.9, 0.99), **OPTIONS), ours, grads)
    steps(AdamW(theirs, betas=(0.9, 0.99), fused=True, **OPTIONS), theirs, grads)
    assert torch.equal(ours[1], theirs[1])
    assert not torch.allclose(ours[0], theirs[0], atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_become_about_one(dtype):
    torch.manual_seed(0)
    for shape in ((2, 32, 200), (2, 200, 32)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, dtype=dtype)).float())
        assert values.min() > 0.6 and values.max() < 1.3


def test_matrices_are_the_layers_between_features():
    for model in (small_vae(), small_dmg("both")):
        chosen = {n for n, p in model.named_parameters() if p in matrices(model)}
        left = [p for n, p in model.named_parameters() if n not in chosen]
        assert all(p.ndim > 1 for n, p in model.named_parameters() if n in chosen)
        assert all(p.ndim < 2 or min(p.shape[:2]) < 8 for p in left)
        assert sum(p.numel() for p in left) < 0.2 * sum(p.numel() for p in model.parameters())
    assert not matrices(nn.Embedding(16, 16))


def test_the_state_is_as_announced_and_survives_saving():
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(8, 8, 3, 3)), nn.Parameter(torch.randn(8))]
    grads = [[torch.randn(w.shape) for w in weights] for _ in range(4)]
    whole = [nn.Parameter(w.detach().clone()) for w in weights]
    optimizer = MuonAdamW(weights, {weights[0]}, **OPTIONS)
    steps(optimizer, weights, grads[:2])
    saved = optimizer.state_dict()
    for i, expected in enumerate(optimizer.state_like()):
        assert {k: v.shape for k, v in saved["state"][i].items()} == {
            k: v.shape for k, v in expected.items()
        }
    again = MuonAdamW(weights, {weights[0]}, **OPTIONS)
    again.load_state_dict(saved)
    steps(again, weights, grads[2:])
    steps(MuonAdamW(whole, {whole[0]}, **OPTIONS), whole, grads)
    assert all(torch.equal(a, b) for a, b in zip(weights, whole, strict=True))


def test_a_training_has_it_for_convolutions_alone(tmp_path):
    weights = {}
    for name in ("adamw", "muon"):
        target = tiny_target(f"train_vae.optimizer={name}", "loss.gan=null")
        train("vae", target, TinyVideos(), tmp_path / name, run_id="v", device="cpu", max_steps=1)
        weights[name] = load_file(checkpoint_path(tmp_path / name, 1) / "weights.safetensors")
    moved = {n for n, w in weights["muon"].items() if not torch.equal(w, weights["adamw"][n])}
    model = NETWORKS["vae"].build(target, None)
    kernels = {name for name, weight in model.named_parameters() if weight in matrices(model)}
    still = {name for name in kernels if name.endswith("conv1.weight")}  # behind a zero conv2
    assert {name.partition(".")[2] for name in moved} == kernels - still
    with pytest.raises(LamdError, match="optimizer muon needs precision bf16 or fp32"):
        tiny_target("train_vae={optimizer: muon, precision: fp16}")
