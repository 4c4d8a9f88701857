"""The registry of data sets: everything that any layer asks about a data set.

Functions of a reader or a stand-in are named, not imported, so that this module stays light.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from lamd.base.errors import LamdError
from lamd.config import DATA_OPTIONS, closest
from lamd.config.strict import Strict
from lamd.config.trees import Tree, explain
from lamd.data.listing import SPLITS, Listing

if TYPE_CHECKING:
    import numpy as np

    from lamd.data.packed import PackedVideos
    from lamd.data.verify import VerifyReport


class CorruptOptions(Strict):
    """A data set whose unreadable videos may be left out."""

    on_corrupt: Literal["skip", "raise"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set; its functions are in `reader` and those named below.

    `reader` is a module with:

    - `find_split(dataset, root, split) -> Path`: the split's folder; LamdError where it is missing.
    - `list_split(dataset, root, split, **options) -> Listing`: its videos, no pixel read.
    - `decoder(dataset, *, size, num_frames, **options)`: a frozen dataclass, called with a `Video`;
      returns uint8 (T, size, size, 3), a `Problem`, or why the video is left out. It has `size`;
      its `repr` contains everything that determines the pixels; `square(image)` makes an RGB image
      square as frames are.
    - `check_split(dataset, root, split) -> SplitCheck`: all of a split read and counted.
    - `class_of(key)`: the class that a clip's key names, where `classes` is not empty.

    Attributes:
        name: as in a config.
        label: display name.
        published_size: pixels of the published values' frames.
        download: how to get the data and where to put it below LAMD_DATA.
        options: model of the data set's own keys under `data:`.
        prepared: size and, where they have an effect, `num_frames` and own keys, by default.
        expected_counts: videos of each split, where known; `unit` is their name.
        packed_counts: videos of each split of the real data once packed, where known.
        video_frames: frames of a packed video by source, where these are more than a clip's.
        classes: names of the classes, which take turns in a split; empty without classes.
        simulator: `package.module:function` that writes the stand-in, None without one. Called as
            `function(dataset, root, counts=, seed=, num_workers=, frame_size=)`.
        generator: version of the simulator. A new one is new data: it names every random stream.
        frame_sizes: simulated (width, height) by the largest clip size that it serves, ascending;
            larger clips are simulated at the real size.
    """

    name: str
    label: str
    published_size: int
    download: str
    reader: str
    options: type[Strict] = Strict
    prepared: Mapping[str, Any] = field(default_factory=dict)
    expected_counts: Mapping[str, int] = field(default_factory=dict)
    unit: str = "videos"
    packed_counts: Mapping[str, int] = field(default_factory=dict)
    video_frames: Mapping[str, int] = field(default_factory=dict)
    classes: Sequence[str] = ()
    simulator: str | None = None
    generator: str = ""
    frame_sizes: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def locate(self) -> Path:
        """Return the root of the real data, LAMD_DATA.

        Raises:
            LamdError: when it is not set or lacks a split.
        """
        data = os.environ.get("LAMD_DATA")
        if not data:
            raise LamdError(f"data.source real: LAMD_DATA is not set; {self.download}")
        root = Path(data).expanduser()
        for split in SPLITS:
            self._call("find_split", root, split)
        return root

    def fingerprint(self, **options: Any) -> list[str] | None:
        """Return a hash of each split's real files, for cell keys; None when there are none."""
        options.pop("on_corrupt", None)
        try:
            root = self.locate()
            return [self.list_split(root, split, **options).fingerprint for split in SPLITS]
        except LamdError:
            return None

    def list_split(self, root: Path, split: str, **options: Any) -> Listing:
        """List a split below `root`, without reading a pixel.

        Raises:
            LamdError: on an unknown split, or when its files are missing or malformed.
        """
        if split not in SPLITS:
            raise LamdError(f"split {split!r}: unknown; use {' or '.join(SPLITS)}")
        return self._call("list_split", root, split, **options)

    def pack(
        self, root: Path, cache: Path, *, split: str, limit: int | None = None, **options: Any
    ) -> "PackedVideos":
        """Decode a split below `root` once into `cache`, or reuse what is stored there.

        Args:
            root: the real data or a stand-in, in the same layout.
            cache: folder of packed data sets.
            split: `train` or `test`.
            limit: use only the first `limit` usable videos; None uses all.
            options: as in `prepared`, whose values are the defaults.

        Raises:
            LamdError: on unknown options and values, missing or malformed files, too few usable
                videos, and on unreadable ones unless `on_corrupt` is `skip`.
        """
        from lamd.data.packing import pack, usable_videos

        wanted = {**self.prepared, **options}
        common = {key: wanted.pop(key) for key in ("size", "num_frames") if key in wanted}
        for key, value in (*common.items(), ("limit", limit)):
            if value is not None and value < 1:
                raise LamdError(f"{key} {value}: must be at least 1; raise it")
        try:
            own = self.options.model_validate(wanted).model_dump()
        except ValidationError as error:
            raise LamdError(explain(error, self.options, Tree(wanted, {}, self.name))) from None
        on_corrupt = own.pop("on_corrupt", "raise")
        decoder = self._call("decoder", **common, **own)
        listing = self.list_split(root, split, **own)
        videos = usable_videos(listing, decoder, limit, on_corrupt)
        identity = (str(root.resolve()), str(limit), on_corrupt, repr(own), repr(decoder))
        return pack(listing, videos, cache, size=decoder.size, identity=identity)

    def verify(self, root: Path) -> "VerifyReport":
        """Read the whole data set below `root`, count it, and name all that is broken or missing.

        A stand-in is checked against the counts in its manifest.

        Raises:
            LamdError: when a split is missing or malformed.
        """
        from lamd.data.stand_in import read_stand_in
        from lamd.data.verify import SplitReport, VerifyReport

        stand_in = read_stand_in(root, self.name)
        kind = "real data" if stand_in is None else f"stand-in {stand_in}"
        counts = self.expected_counts if stand_in is None else stand_in.counts
        reports = (
            SplitReport(split, counts.get(split), self._call("check_split", root, split))
            for split in SPLITS
        )
        return VerifyReport(f"{self.name} in {root} ({kind})", self.unit, tuple(reports))

    def simulate(
        self, root: Path, *, num_train: int, num_test: int, seed: int,
        num_workers: int | None = None, frame_size: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """Write the stand-in below `root`, in the real layout.

        Complete files of an interrupted run are kept; a larger set contains the smaller one.

        Args:
            root: a new folder, or that of an interrupted run with the same arguments.
            num_train, num_test: videos, of Landscape those of at least 32 frames.
            seed: of all random streams.
            num_workers: processes, by default one per core; they never change a byte.
            frame_size: (width, height) in pixels, in the real aspect ratio; None is the real size.

        Raises:
            LamdError: when there is no stand-in, or `root` contains something else or cannot be
                written.
        """
        if self.simulator is None:
            raise LamdError(f"{self.name}: has no stand-in; use the real data")
        counts = {"train": num_train, "test": num_test}
        resolve_name(self.simulator)(
            self, root, counts=counts, seed=seed, num_workers=num_workers, frame_size=frame_size
        )

    def simulated_size(self, size: int) -> tuple[int, int] | None:
        """Return the (width, height) to simulate for clips of `size` pixels; None: the real one."""
        # a few times the pixels that are kept are enough
        return next((frame for most, frame in self.frame_sizes.items() if size <= most), None)

    def read_image(self, path: Path, size: int) -> "np.ndarray":
        """Read an image as uint8 (size, size, 3), made square as the training frames are.

        Raises:
            LamdError: when it is not an image.
        """
        import numpy as np
        from PIL import Image

        options = {"num_frames": 1, **self.prepared, "size": size}
        options.pop("on_corrupt", None)
        decoder = self._call("decoder", **options)
        try:
            with Image.open(path) as image:
                return np.asarray(decoder.square(image.convert("RGB")))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise LamdError(f"{path}: not a readable image ({reason}); give PNG or JPEG") from None

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
    """Return the data set `name`.

    Raises:
        LamdError: when it is unknown; the nearest known one is named.
    """
    if name not in DATASETS:
        hint = closest(name, DATASETS)
        raise LamdError(f"data set {name!r}: unknown{hint}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name]


def class_of(key: str) -> str:
    """Return the class of the clip that `key` names, such as `mug/test/001/fear/take000@0#1`."""
    return resolve_name(f"{find_dataset(key.partition('/')[0]).reader}:class_of")(key)
