"""Trainings that cannot begin are refused before anything is written."""

from pathlib import Path

import pytest
import torch
from tiny import TinyVideos, tiny_target

from lamd.base.errors import LamdError
from lamd.training import train
from lamd.training.engine import make_accelerator


@pytest.mark.parametrize(
    ("stage", "parents", "words"),
    [
        ("gan", None, "stage 'gan': unknown; use one of .*vae, dmg"),
        ("dmg", None, "stage dmg: needs the folder of its autoencoder and latents; pass"),
        ("dmg", {}, "stage dmg: needs the folder of its autoencoder and latents; pass"),
        ("dmg", {"latents": Path("z")}, "stage dmg: needs the folder of its autoencoder; pass"),
        ("captioner", None, "no `train_captioner`; add it, or another stage"),
    ],
)
def test_a_stage_that_cannot_be_trained_is_refused(tmp_path, stage, parents, words):
    folder = tmp_path / "trained"
    with pytest.raises(LamdError, match=words):
        train(stage, tiny_target(), TinyVideos(), folder, parents, run_id="x", device="cpu")
    assert not folder.exists()


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_training_on_a_gpu_that_is_not_here_is_refused(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LamdError, match=f"device '{device}': no CUDA device here; use cpu"):
        make_accelerator(device, "fp32")
