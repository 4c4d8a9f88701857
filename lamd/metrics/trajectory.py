"""Motion against the true tracks of a simulator: distance, and colours that travel; no weights."""

from collections.abc import Iterator

import cv2
import numpy as np

from lamd.base.progress import track
from lamd.metrics.values import Inputs

# of the frame's shorter side: half of a patch, and the farthest step from frame to frame
_HALF_PATCH, _REACH = 1 / 12, 1 / 6
_DISC = 1 / 24  # radius of what counts of a thing's colour, of the same side
# of the correlation; chosen by how near other futures are located to their own true tracks
_FAR = 0.1  # lost at the farthest step, or things that look alike swap
_SAME_TIME = 0.03  # gained by a picture of the same time: another may show what hid the thing then


def trajectory_error(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return the mean distance to the true tracks of each generated clip in pixels (M,)."""
    distances = (
        np.linalg.norm(located - truth, axis=-1)
        for *_, truth, located in _located(real, fake, inputs)
    )
    return np.array([np.nanmean(distance) for distance in distances])


def colour_error(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return the mean colour difference of what moves in each generated clip, Delta E (M,)."""
    errors = []
    for real_clip, fake_clip, truth, located in _located(real, fake, inputs):
        difference = colours(real_clip, truth) - colours(fake_clip, located)
        errors.append(np.nanmean(np.linalg.norm(difference, axis=-1)))
    return np.array(errors)


def colours(clip: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the mean CIELAB colour of discs in a clip uint8 (L, H, W, 3), float64 (L, P, 3).

    The discs are around positions (L, P, 2); NaN for NaN.
    """
    height, width = clip.shape[1:3]
    y, x = np.mgrid[:height, :width] + 0.5
    result = np.full((*at.shape[:2], 3), np.nan)
    for t, frame in enumerate(clip):
        lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        for thing in np.flatnonzero(~np.isnan(at[t]).any(axis=1)):
            left, top = np.clip(at[t, thing], 0.5, (width - 0.5, height - 0.5))
            # softened, so that a fraction of a pixel does not swap whole pixels
            weight = np.clip(0.5 + _DISC * min(height, width) - np.hypot(x - left, y - top), 0, 1)
            result[t, thing] = np.average(lab.reshape(-1, 3), axis=0, weights=weight.ravel())
    return result


def _located(
    real: np.ndarray, fake: np.ndarray, inputs: Inputs
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield pairs of clips, with positions in the real one and those located in the other."""
    tracks, num_frames = inputs.tracks, fake.shape[1]
    assert tracks is not None, "checked by `measure`"
    first = max(tracks.shape[1] - num_frames - 1, 0)  # the given frame, where it is not counted
    pairs = zip(real, track(fake, inputs.bar("trajectories")), strict=True)
    for i, (real_clip, fake_clip) in enumerate(pairs):
        k = i // max(inputs.samples, 1)
        at, truth = tracks[k, first], tracks[k, -num_frames:]
        yield real_clip, fake_clip, truth, locate(real_clip, fake_clip, truth, at)


def locate(real: np.ndarray, fake: np.ndarray, truth: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return where the things of a real clip are in a generated one, pixels (L, P, 2).

    A thing is where a frame is most like one of its pictures in the real clip, by normalised
    cross-correlation, near where it was one frame before.

    Args:
        real, fake: uint8 (L, H, W, 3).
        truth: positions in the real clip (L, P, 2), within its frames; NaN for a thing that is not.
        start: positions before the first frame (P, 2).
    """
    side = min(fake.shape[1:3])
    half, reach = round(_HALF_PATCH * side), round(_REACH * side)
    offsets = np.arange(-reach, reach + 1)
    cost = _FAR * (offsets[:, None] ** 2 + offsets**2) / reach**2
    width = [(0, 0), *[(half + reach,) * 2] * 2, (0, 0)]
    a, b = (np.pad(clip, width, mode="edge") for clip in (real, fake))
    located = np.full(truth.shape, np.nan)
    for thing in np.flatnonzero(~np.isnan(start).any(axis=1)):
        cells = np.floor(truth[:, thing]).astype(int)
        pictures = [_window(*pair, half, half + reach) for pair in zip(a, cells, strict=True)]
        parts, at = truth[:, thing] - cells, start[thing]
        for t, frame in enumerate(b):
            cell = np.floor(np.clip(at, 0, np.array(fake.shape[2:0:-1]) - 1)).astype(int)
            window = _window(frame, cell, half + reach, half + reach)
            scores = np.stack(
                [cv2.matchTemplate(window, p, cv2.TM_CCOEFF_NORMED) - cost for p in pictures]
            )
            scores[t] += _SAME_TIME
            best = scores.max(axis=(1, 2)).argmax()
            at = located[t, thing] = cell + parts[best] + _peak(scores[best]) - reach
    return located


def _window(padded: np.ndarray, cell: np.ndarray, half: int, padding: int) -> np.ndarray:
    """Return the square around a pixel (x, y) of a frame that was padded."""
    x, y = cell + padding - half
    return padded[y : y + 2 * half + 1, x : x + 2 * half + 1]


def _peak(scores: np.ndarray) -> np.ndarray:
    """Return (x, y) of the highest score, to fractions of a pixel by parabolas."""
    y, x = np.unravel_index(scores.argmax(), scores.shape)
    return np.array([_vertex(scores[y], int(x)), _vertex(scores[:, x], int(y))])


def _vertex(line: np.ndarray, top: int) -> float:
    if not 0 < top < len(line) - 1:
        return top
    before, here, after = line[top - 1 : top + 2].astype(np.float64)
    curvature = before - 2 * here + after
    return top + (0.5 * (before - after) / curvature if curvature else 0.0)
