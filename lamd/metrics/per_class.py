"""Distances class by class: whether clips of a class look like the real ones of that class."""

from collections.abc import Sequence

import numpy as np

from lamd.base.errors import LamdError
from lamd.metrics.frechet import frechet_distance


def class_distances(
    real: np.ndarray, real_classes: Sequence[str], fake: np.ndarray, fake_classes: Sequence[str]
) -> dict[str, float]:
    """Return the squared Fréchet distance of the clips of each class, by name of the class.

    The mean over classes is cFVD and their standard deviation its spread (reported; dividing by
    the number of classes is ours). A class has few clips: with fewer than the features each value
    is biased upwards, so values compare at equal numbers of clips a class only.

    Args:
        real, fake: features (N, D) and (M, D), not changed.
        real_classes, fake_classes: the class of each row.

    Raises:
        LamdError: when a class has under 2 clips in one of the sets.
        ValueError: as `frechet_distance`, or when rows and classes differ in number.
    """
    of_real, of_fake = _rows(real, real_classes), _rows(fake, fake_classes)
    for name in sorted(of_real.keys() | of_fake.keys()):
        counts = [len(rows.get(name, ())) for rows in (of_real, of_fake)]
        if min(counts) < 2:
            raise LamdError(
                f"class {name!r}: {counts[0]} real and {counts[1]} generated clips, 2 needed;"
                " give more test clips"
            )
    return {
        name: frechet_distance(real[rows], fake[of_fake[name]])
        for name, rows in sorted(of_real.items())
    }


def _rows(features: np.ndarray, classes: Sequence[str]) -> dict[str, list[int]]:
    if len(features) != len(classes):
        raise ValueError(f"{len(features)} rows of features, but {len(classes)} classes")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(classes):
        rows.setdefault(name, []).append(row)
    return rows
