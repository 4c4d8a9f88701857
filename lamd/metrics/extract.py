"""Running pinned networks over clips, batch by batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from lamd.base.progress import track
from lamd.metrics.values import Inputs


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Turn autocast and the TF32 of convolutions off: both move a value's third digit."""
    with (
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
        torch.autocast(device.type, enabled=False),
    ):
        yield


@torch.inference_mode()
def extract(
    run: Callable[[torch.Tensor], torch.Tensor],
    videos: np.ndarray,
    shape: tuple[int, ...],
    batch_size: int,
    inputs: Inputs,
    label: str,
) -> np.ndarray:
    """Return float32 features of a `shape`, `run` on `batch_size` clips (B, L, H, W, 3) at a time.

    A memory map is read batch by batch; `label` names the progress bar.
    """
    device, rows = torch.device(inputs.device), np.empty(shape, np.float32)
    with full_precision(device):
        for start in track(range(0, len(videos), batch_size), inputs.bar(label)):
            batch = torch.from_numpy(np.array(videos[start : start + batch_size])).to(device)
            rows[start : start + len(batch)] = run(batch).cpu().numpy()
    return rows
