"""The registry of data sets: everything that any layer asks about a data set.

Readers and simulators are named, not imported: a reader imports this module, a simulator MuJoCo.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from lamd.base.errors import LamdError
from lamd.base.files import user_path
from lamd.base.limits import MOST_VIDEOS
from lamd.base.rng import numpy_generator
from lamd.config import DATA_OPTIONS, DataConfig, DataOptions, closest
from lamd.config.strict import Tree, explain
from lamd.data.frames import Resize, usable_videos
from lamd.data.listing import SPLITS, Listing, Problem, check_depth, check_inside
from lamd.data.packed import PackedVideos, pack
from lamd.data.stand_in import Future, read_stand_in
from lamd.io.pictures import read_picture


class ResizeOptions(DataOptions):
    """A data set whose frames are resized."""

    resize: Resize | None = None  # of real frames; None, of simulated ones: lanczos


class CorruptOptions(ResizeOptions):
    """A resized data set whose unreadable videos may be left out."""

    on_corrupt: Literal["skip", "raise"]


class FrameOptions(ResizeOptions):
    """A resized data set of JPEGs: `load_truncated` loads those that end early, else is `skip`."""

    on_corrupt: Literal["skip", "raise", "load_truncated"]


@dataclass(frozen=True)
class SplitCheck:
    """Number of sound videos of a split, its problems, and further counts."""

    sound: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    expected: int | None = None  # filled in by `Dataset.verify` where it is known
    stand_in: str | None = None  # that the files name

    @property
    def ok(self) -> bool:
        """True when every expected video is there and sound."""
        expected = max(self.sound, 1) if self.expected is None else self.expected
        return self.sound == expected and not self.problems


@dataclass(frozen=True)
class VerifyReport:
    """The checks of all splits; `str()` is the text for a terminal."""

    title: str
    unit: str
    splits: Mapping[str, SplitCheck]

    @property
    def ok(self) -> bool:
        """True when all splits are complete and sound."""
        return all(check.ok for check in self.splits.values())

    def __str__(self) -> str:
        lines = [self.title]
        for split, check in self.splits.items():
            expected = "an unknown number of" if check.expected is None else check.expected
            lines.append(
                f"  {split:5s} {'ok' if check.ok else 'NOT OK'}: {check.sound} of {expected} "
                f"{self.unit} sound, {len(check.problems)} broken"
            )
            lines.extend(f"    {line}" for line in (*check.notes, *check.problems))
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set; its functions are in `reader` and those named below.

    `reader` is a module with:

    - `find_split(dataset, root, split) -> Path`: the split's folder; LamdError where it is missing.
    - `list_split(dataset, root, split, **options) -> Listing`: its videos, no pixel read.
    - `decoder(dataset, *, size, num_frames, **options)`: a frozen `lamd.data.frames.Decoder`,
      called with a `Video`; returns uint8 (T, size, size, 3), a `Problem`, or why the video is left
      out. Its `repr` contains everything that determines the pixels.
    - `check_split(dataset, root, split) -> SplitCheck`: all of a split read and counted.
    - `class_of(key)`: the class that a clip's key names, where `classes` is not empty.

    `simulator` is called as `function(dataset, root, counts=, seed=, num_workers=, frame_size=)`,
    and where it `has_futures` with a `future=` as well; `tracks` as
    `function(dataset, num_test=, seed=, size=, num_frames=, **options)`.
    """

    name: str  # as in a config
    label: str  # as displayed
    published_size: int  # pixels of the published values' frames
    # Own keys that results state, and their values in the methods published next to the paper.
    published_options: Mapping[str, Any] = field(default_factory=dict)
    download: str  # how to get the data and where to put it below LAMD_DATA
    reader: str
    options: type[DataOptions] = DataOptions  # the data set's own keys under `data:`
    expected_counts: Mapping[str, int] = field(default_factory=dict)  # videos, where known
    unit: str = "videos"  # name of what is counted
    packed_counts: Mapping[str, int] = field(default_factory=dict)  # of real videos, where known
    # frames of a packed video by source, where these are more than a clip's
    video_frames: Mapping[str, int] = field(default_factory=dict)
    classes: Sequence[str] = ()  # they take turns in a split
    simulator: str | None = None  # `package.module:function` that writes the stand-in, if any
    has_futures: bool = False  # the simulator can draw other motion from the same states
    tracks: str | None = None  # `package.module:function`, the stand-in's true tracks, if any
    generator: str = ""  # version of the simulator; names every random stream: a new one, new data
    # simulated (width, height) by the largest clip size that it serves, ascending; larger clips are
    # simulated at the real size
    frame_sizes: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def locate(self) -> Path:
        """Return the root of the real data, LAMD_DATA; LamdError if unset or without a split."""
        data = os.environ.get("LAMD_DATA")
        if not data:
            raise LamdError(f"data.source real: LAMD_DATA is not set; {self.download}")
        root = user_path(data)
        for split in SPLITS:
            self._call("find_split", root, split)
        return root

    def find_folder(self, root: Path, *names: str) -> Path:
        """Return the first folder of these names below `root`; LamdError when there is none."""
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder is None:
            check_depth(root, *names)
            raise self.missing(root / names[0], "no such folder")
        check_inside(folder, root)
        return folder

    def fingerprint(self, **options: Any) -> list[str] | None:
        """Return a hash of each split's real files, for cell keys; None when there are none.

        LamdError when a split is malformed.
        """
        options.pop("on_corrupt", None)
        try:
            root = self.locate()
        except LamdError:
            return None
        return [self.list_split(root, split, **options).fingerprint for split in SPLITS]

    def list_split(self, root: Path, split: str, **options: Any) -> Listing:
        """List a split below `root`, no pixel read; LamdError if it is missing or malformed."""
        if split not in SPLITS:
            raise LamdError(f"split {split!r}: unknown; use {' or '.join(SPLITS)}")
        return self._call("list_split", root, split, **options)

    def pack(
        self, root: Path, cache: Path, *, split: str, limit: int | None = None,
        all_frames: bool = False, **options: Any,
    ) -> PackedVideos:  # fmt: skip
        """Decode a split below `root` once into the folder `cache`, or reuse what is stored there.

        Only the first `limit` usable videos are used; `options` are size, num_frames and the data
        set's own keys. With `all_frames`, those that `num_frames` are evenly drawn from are stored.
        LamdError on unknown options and values, missing or malformed files, too few usable videos,
        and on unreadable ones unless `on_corrupt` is `skip`.
        """
        common = {key: options.pop(key) for key in ("size", "num_frames") if key in options}
        for key, value in (*common.items(), ("limit", limit)):
            if value is not None and value < 1:
                raise LamdError(f"{key} {value}: must be at least 1; raise it")
        try:
            own = self.options.model_validate(options).model_dump()
        except ValidationError as error:
            raise LamdError(explain(error, self.options, Tree(options, {}, self.name))) from None
        verify = ", or set data.on_corrupt: skip" if own.get("on_corrupt") == "raise" else ""
        if hasattr(import_module(self.reader), "check_split"):
            verify += f"; `lamd data verify {self.name}` lists all problems"
        on_corrupt = own.pop("on_corrupt", "raise")
        num_drawn = common["num_frames"] if all_frames else None
        if all_frames:
            common["num_frames"] = None
        decoder = self._call("decoder", **common, **own)
        listing = self.list_split(root, split, **own)
        if min(limit or MOST_VIDEOS + 1, len(listing.videos)) > MOST_VIDEOS:
            reason = f"{len(listing.videos):,} videos, at most {MOST_VIDEOS:,} are packed"
            raise LamdError(f"{listing.folder}: {reason}; set data.num_{split}")
        videos = usable_videos(listing, decoder, limit, on_corrupt, verify)
        identity = [str(root.resolve()), str(limit), on_corrupt, repr(own), repr(decoder)]
        if num_drawn is not None:
            identity.append(str(num_drawn))
        manifest = read_stand_in(root, self.name)
        return pack(
            listing, videos, cache, size=decoder.size, identity=tuple(identity),
            num_drawn=num_drawn, stand_in=None if manifest is None else str(manifest),
        )  # fmt: skip

    def lacking(self, split: str, videos: int, left_out: int) -> str | None:
        """Say how many videos of a split of real data there are, where some are missing."""
        count = self.expected_counts.get(split, 0)
        return f"{videos:,} of {count:,} {split} videos" if videos + left_out < count else None

    def verify(self, root: Path) -> VerifyReport:
        """Read the whole data set below `root`, count it, and name all that is broken or missing.

        A stand-in is checked against the counts in its manifest, if it is still there. LamdError as
        of `list_split`.
        """
        manifest = read_stand_in(root, self.name)
        checks: dict[str, SplitCheck] = {s: self._call("check_split", root, s) for s in SPLITS}
        marks = [manifest and str(manifest), *(check.stand_in for check in checks.values())]
        stand_in = next(filter(None, marks), None)
        kind = "real data" if stand_in is None else f"stand-in {stand_in}"
        counts = manifest.counts if manifest else {} if stand_in else self.expected_counts
        return VerifyReport(
            f"{self.name} in {root} ({kind})",
            self.unit,
            {s: replace(check, expected=counts.get(s)) for s, check in checks.items()},
        )

    def simulate(
        self, root: Path, *, num_train: int, num_test: int, seed: int,
        num_workers: int | None = None, frame_size: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """Write the stand-in below `root`, in the real layout.

        Complete files of an interrupted run are kept; a larger set contains the smaller one.

        Args:
            root: a new folder, or that of an interrupted run with the same arguments; LamdError
                when it contains something else or cannot be written.
            num_train, num_test: videos, of Landscape those of at least 32 frames.
            num_workers: processes, by default one per core; they never change a byte.
            frame_size: (width, height) in pixels, in the real aspect ratio; None is the real size.
        """
        counts = {"train": num_train, "test": num_test}
        self._simulate(root, counts, seed, num_workers=num_workers, frame_size=frame_size)

    def simulate_future(
        self, root: Path, future: Future, *, num_test: int, seed: int,
        num_workers: int | None = None, frame_size: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """Write below `root` the test split of `simulate` with other motion from the same states.

        Names are equal, as are the first frame and the condition of each clip; all else, and
        LamdError, as of `simulate`.
        """
        if not self.has_futures:
            raise LamdError(f"{self.name}: its simulator draws no other future; use another set")
        options = {"num_workers": num_workers, "frame_size": frame_size, "future": future}
        self._simulate(root, {"test": num_test}, seed, **options)

    def _simulate(self, root: Path, counts: Mapping[str, int], seed: int, **options: Any) -> None:
        if self.simulator is None:
            raise LamdError(f"{self.name}: has no stand-in; use the real data")
        resolve_name(self.simulator)(self, root, counts=counts, seed=seed, **options)

    def random(self, seed: int, *name: int | str) -> np.random.Generator:
        """Return the random stream `name` of the simulator with a seed."""
        return numpy_generator(self.generator, seed, *name)

    def true_tracks(
        self, *, num_test: int, seed: int, size: int, num_frames: int, **own: Any
    ) -> dict[str, np.ndarray]:
        """Return where things that move are in the test videos of `simulate`, by key.

        No picture is drawn again. A track is float64 (T, P, 2): (x, y) of P things in the frames
        that `pack` stores, in pixels from the top left corner. A thing out of the frame is at its
        edge; NaN are things that other videos have more of. `own` are the data set's own keys.
        """
        assert self.tracks is not None, "checked with the plan"
        own.pop("on_corrupt", None)
        tracks = resolve_name(self.tracks)(
            self, num_test=num_test, seed=seed, size=size, num_frames=num_frames, **own
        )
        most = max(track.shape[1] for track in tracks.values())
        return {
            key: np.pad(
                np.clip(track, 0.5, size - 0.5),
                [(0, 0), (0, most - track.shape[1]), (0, 0)],
                constant_values=np.nan,
            )
            for key, track in tracks.items()
        }

    def simulated_size(self, size: int) -> tuple[int, int] | None:
        """Return the (width, height) to simulate for clips of `size` pixels; None: the real one."""
        # a few times the pixels that are kept are enough
        return next((frame for most, frame in self.frame_sizes.items() if size <= most), None)

    def expected_lengths(self, data: DataConfig) -> dict[str, np.ndarray]:
        """Return the frames of each video by split, as config and registry say, where they do."""
        counts = {"train": data.num_train, "test": data.num_test}
        if data.source == "real":
            counts = {split: n or self.packed_counts.get(split) for split, n in counts.items()}
        frames = max(data.num_frames, self.video_frames.get(data.source, 0))
        return {split: np.full(n, frames) for split, n in counts.items() if n is not None}

    def read_image(self, path: Path, size: int, **own: Any) -> np.ndarray:
        """Read an image, square as frames are: uint8 (size, size, 3); LamdError if it is none."""
        own.pop("on_corrupt", None)
        decoder = self._call("decoder", size=size, num_frames=1, **own)
        try:
            return np.asarray(decoder.square(read_picture(path)))
        except ValueError as error:
            raise LamdError(f"{path}: {error}") from None

    def missing(self, path: Path, what: str) -> LamdError:
        """Return the error that `path` lacks `what`, with the ways to get it."""
        simulate = f" or run `lamd data simulate {self.name} ROOT`" if self.simulator else ""
        return LamdError(f"{path}: {what}; {self.download}{simulate}")

    def _call(self, function: str, *arguments: Any, **options: Any) -> Any:
        try:
            call = resolve_name(f"{self.reader}:{function}")
        except AttributeError:
            reason = f"{self.reader} has no function {function}"
            raise LamdError(f"data set {self.name}: {reason}; add it to the reader") from None
        return call(self, *arguments, **options)


DATASETS: dict[str, Dataset] = {}


def register(dataset: Dataset) -> Dataset:
    """Add a data set under its name."""
    DATASETS[dataset.name] = dataset
    DATA_OPTIONS[dataset.name] = dataset.options
    return dataset


def find_dataset(name: str) -> Dataset:
    """Return the data set `name`; LamdError with the nearest one when it is unknown."""
    if name not in DATASETS:
        hint = closest(name, DATASETS)
        raise LamdError(f"data set {name!r}: unknown{hint}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name]


def class_of(key: str) -> str:
    """Return the class of the clip that `key` names, such as `mug/test/001/fear/take000@0#1`."""
    return resolve_name(f"{find_dataset(key.partition('/')[0]).reader}:class_of")(key)
