"""A target and clips that train in milliseconds a step; also run as a script, to be killed."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from lamd.config import Target, load_target
from lamd.data.packed import windows
from lamd.pipeline.cell import Cell
from lamd.targets import KINDS
from lamd.training import encode_latents, train

HERE = Path(__file__).resolve().parent


def tiny_target(*overrides: str) -> Target:
    return load_target(str(HERE / "tiny.yaml"), "quick", overrides)


def table_cells(target: Target) -> list[Cell]:
    """Return all cells of a table, parents first."""
    return KINDS["table"].plan(target, "cpu").cells()[""]


class TinyVideos:
    """Bright squares that move over coloured ground, with the interface of `PackedVideos`."""

    def __init__(self, count: int = 12, num_frames: int = 9, size: int = 16, seed: int = 0):
        rng = np.random.default_rng(seed)
        ground = rng.integers(0, 120, (count, 1, 1, 1, 3), dtype=np.uint8)
        self.videos = np.broadcast_to(ground, (count, num_frames, size, size, 3)).copy()
        for video in self.videos:
            (y, x), (v, u) = rng.integers(0, size - 5, 2), rng.integers(-1, 2, 2)
            for step, frame in enumerate(video):
                top, left = (y + v * step) % (size - 4), (x + u * step) % (size - 4)
                frame[top : top + 4, left : left + 4] = rng.integers(200, 256, 3)
        self.keys = [f"bair/train/{i}" for i in range(count)]
        self.content_hash = "tiny"
        self.size, self.lengths = size, np.full(count, num_frames)

    def __len__(self) -> int:
        return len(self.videos)

    def clip(self, i: int, start: int, num_frames: int) -> np.ndarray:
        return self.videos[i, start : start + num_frames].copy()

    def windows(self, num_frames: int, stride: int) -> np.ndarray:
        return windows(self.lengths, num_frames, stride)


def records(folder: Path) -> list[dict]:
    """Return the lines of a training's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def train_both(
    target: Target, folder: Path, *, vae_steps: int | None = None, dmg_steps: int | None = None
) -> None:
    """Run both stages in `folder`; a number of steps stops a stage, and what follows it, early."""
    videos, vae, latents = TinyVideos(), folder / "vae", folder / "latents"
    train("vae", target, videos, vae, run_id="v", device="cpu", max_steps=vae_steps)
    if vae_steps is not None:
        return
    latents.mkdir(exist_ok=True)
    encode_latents(target, videos, vae, latents, run_id="l")
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    parents = {"autoencoder": vae, "latents": latents}
    train(
        "dmg", target, videos, folder / "dmg", parents,
        run_id="d", device="cpu", max_steps=dmg_steps,
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_both(tiny_target(*sys.argv[2:]), Path(sys.argv[1]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
