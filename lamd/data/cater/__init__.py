"""CATER-GEN, versions 1 and 2, on disk: `cater_gen_{v1,v2}/{train,test}_{ambiguous,explicit}.json`.

Each JSON maps a key to `{"video": "videos/<name>.avi", "caption": "..."}`; the video's scene, in
CATER's own schema, is `scenes/<name>.json`. Paths in the JSON never leave the data set's folder.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from PIL import Image

from lamd.base.errors import LamdError
from lamd.base.files import load_json, natural_key, parse_json, read_file
from lamd.base.progress import track
from lamd.base.terminal import printable
from lamd.config.strict import Count
from lamd.data.cater.captions import (
    MODES,
    MOST_CHARACTERS,
    WORDS,
    Mode,
    describes,
    moves_of,
    parse,
)
from lamd.data.dataset import CorruptOptions, Dataset, SplitCheck, register
from lamd.data.frames import Decoder, Resize, resize
from lamd.data.listing import (
    Listing,
    Problem,
    Video,
    check_depth,
    check_inside,
    is_inside,
    mark_of,
)
from lamd.data.stand_in import parse_mark
from lamd.data.vocabulary import tokenize
from lamd.io.clips import avi_comment, count_with_decord, decode_with_decord

_RIFF_HEADER = 8  # bytes
_MOST_PATH, _MOST_NAME = 1000, 200  # characters of a path, bytes of a name; systems take more
# `interval`: frames 0, s, 2 s, ... for a frame interval s; `linspace`: the first ones of
# round(T / s) frames that are even from the first to the last of T, rounded down (MAGE)
Sampling = Literal["interval", "linspace"]


class CaterOptions(CorruptOptions):
    """Own keys of CATER-GEN."""

    captions: Mode  # the conditions
    frame_interval: Count  # from one frame of a clip to the next; MAGE draws 3 to 6
    sampling: Sampling | None = None  # None: interval


def _register(version: str, counts: dict[str, int]) -> Dataset:
    return register(
        Dataset(
            name=f"cater_{version}",
            label=f"CATER-GEN-{version}",
            published_size=128,
            # MAGE's; its interval is drawn from 3 to 6
            published_options={
                "captions": None,
                "frame_interval": None,
                "sampling": "linspace",
                "resize": "pillow_bilinear",
            },
            download=f"download CATER-GEN-{version} (linked in Youncy-Hu/MAGE's readme) and put it "
            f"at $LAMD_DATA/cater_gen_{version}/"
            "{videos/*.avi,{train,test}_{ambiguous,explicit}.json}",
            reader=__name__,
            options=CaterOptions,
            expected_counts=counts,
            simulator="lamd.standins.blocks.write:simulate",
            has_futures=True,
            tracks="lamd.standins.blocks.track:true_tracks",
            generator=f"cater_{version}_sim.v2",
            frame_sizes={64: (96, 72)},
        )
    )


CATER_V1 = _register("v1", {})  # its number of videos is not known
CATER_V2 = _register("v2", {"train": 24_000, "test": 6_000})  # as the captions' script asks for


@dataclass(frozen=True, kw_only=True)
class CaterVideo(Video):
    """One entry of a caption JSON and its scene."""

    scene: Path  # need not exist
    stand_in: str | None = None  # of the captions' file

    def mark(self) -> str | None:
        return self.stand_in or parse_mark(avi_comment(self.path))


def data_folder(root: Path, name: str) -> Path:
    """Return the folder of the data set `name` below `root`."""
    return root / name.replace("cater", "cater_gen")


def captions_file(folder: Path, split: str, mode: str) -> Path:
    """Return the JSON with a split's captions."""
    return folder / f"{split}_{mode}.json"


def find_split(dataset: Dataset, root: Path, split: str) -> Path:
    """Find the folder that contains captions of a split."""
    folder = data_folder(root, dataset.name)
    if not any(captions_file(folder, split, mode).is_file() for mode in MODES):
        check_depth(root, folder.name)
        raise dataset.missing(folder, f"no captions of the {split} split there")
    return folder


def list_split(
    dataset: Dataset, root: Path, split: str, *, captions: str, **_: object
) -> Listing[CaterVideo]:
    """List the videos of a split, in natural order of their keys, with one kind of captions.

    LamdError when the JSON is missing or malformed, or a path leaves the data set's folder.
    """
    folder = data_folder(root, dataset.name)
    path = captions_file(folder, split, captions)
    if not path.is_file():
        raise dataset.missing(path, "no such file")
    check_inside(path, root)
    text = read_file(path, "get it again")
    entries = parse_json(text, dict[str, Any], path, "get it again")
    if not entries:
        raise LamdError(f"{path}: no map from keys to videos and captions; get it again")
    state, home, videos = hashlib.sha256(text), folder.resolve(), []
    for name in sorted(entries, key=natural_key):
        where = f"{path}: entry {printable(name)!r}"
        match entries[name]:
            case {"video": str(video), "caption": str(caption), **others}:
                file = _inside(folder, home, video, where)
            case _:
                raise LamdError(f"{where}: has no video and caption; get the file again")
        if len(caption) > MOST_CHARACTERS:
            reason = f"its caption has more than {MOST_CHARACTERS:,} characters"
            raise LamdError(f"{where}: {reason}; get the file again")
        if not caption.isascii():
            raise LamdError(f"{where}: its caption is not ASCII; get the file again")
        if file.is_file():
            stat = file.stat()
            state.update(f"{video}:{stat.st_size}:{stat.st_mtime_ns}".encode())
        scene = _inside(folder, home, f"scenes/{file.stem}.json", where)
        key = f"{dataset.name}/{split}/{printable(name)}"
        videos.append(
            CaterVideo(
                key=key, path=file, condition=caption.strip(), scene=scene,
                stand_in=parse_mark(others.get("stand_in")),
            )
        )  # fmt: skip
    return Listing(
        dataset=dataset.name, split=split, folder=folder, videos=tuple(videos),
        fingerprint=state.hexdigest(), variant=captions,
    )  # fmt: skip


def _inside(folder: Path, home: Path, video: str, where: str) -> Path:
    """Return the file that an entry names, if it is in the data set's folder."""
    parts, name = PurePosixPath(video), printable(video[:80])
    if not video.isprintable() or "\\" in video:
        raise LamdError(f"{where}: path {name!r} has odd characters; correct it")
    if len(video) > _MOST_PATH or any(len(part.encode()) > _MOST_NAME for part in parts.parts):
        raise LamdError(f"{where}: path {name!r}... is too long; correct it")
    if parts.is_absolute() or ".." in parts.parts or not parts.name:
        raise LamdError(f"{where}: path {name!r} leaves the data set's folder; correct it")
    file = folder / parts
    if not is_inside(file, home):
        raise LamdError(f"{where}: {name!r} is a link out of {folder}; put the file itself there")
    return file


@dataclass(frozen=True)
class CaterDecoder(Decoder):
    """Decodes a video to uint8 (num_frames, size, size, 3).

    Its frames are those of a rule of `Sampling`; a short video is padded with its last frame
    (reported). The shorter side is brought to `size` (reported) by the rule `resize`, the longer
    one cropped.
    """

    num_frames: int
    frame_interval: int
    sampling: Sampling = "interval"
    resize: Resize = "lanczos"

    def __call__(self, video: CaterVideo) -> np.ndarray | Problem:
        """Return the clip, or why the video cannot be used."""
        if not (video.condition or "").replace(".", " ").strip():  # as `parse` reads it
            return Problem(video.path, "empty caption")
        whole, end = self.sampling == "linspace", (self.num_frames - 1) * self.frame_interval + 1
        try:
            _check_avi(video.path)
            frames = decode_with_decord(video.path, None if whole else end)
        except ValueError as error:
            return Problem(video.path, str(error))
        wanted = frames[self.numbers(len(frames))]
        return np.stack([np.asarray(self.square(Image.fromarray(frame))) for frame in wanted])

    def numbers(self, length: int) -> np.ndarray:
        """Return the numbers of the frames that are taken of a video of `length`."""
        numbers = np.arange(self.num_frames)
        if self.sampling == "interval":
            return np.minimum(numbers * self.frame_interval, length - 1)
        count = max(1, round(length / self.frame_interval))
        return np.linspace(0, length - 1, count, dtype=int)[np.minimum(numbers, count - 1)]

    def square(self, image: Image.Image) -> Image.Image:
        """Make an RGB image square: its centre, by the rule `resize`."""
        if self.resize == "lanczos":
            return super().square(image)
        # MAGE's rounding (reported)
        width, height = (int(self.size * side / min(image.size)) for side in image.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        scaled = resize(image, (width, height), self.resize)
        return scaled.crop((left, top, left + self.size, top + self.size))


def decoder(
    dataset: Dataset, *, size: int, num_frames: int, frame_interval: int, captions: str,
    sampling: Sampling | None = None, resize: Resize | None = None,
) -> CaterDecoder:  # fmt: skip
    """Return the rule for a clip, which does not depend on its captions."""
    rules = sampling or "interval", resize or "lanczos"
    return CaterDecoder(size, num_frames, frame_interval, *rules)


def _check_avi(path: Path) -> None:
    """Raise ValueError unless it is an AVI, also for a torn one, which decoders read as short."""
    try:
        if not path.is_file():  # a pipe would block for ever
            raise ValueError("no such file")
        with path.open("rb") as stream:
            header = stream.read(_RIFF_HEADER)
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if header[:4] != b"RIFF":
        raise ValueError("not an AVI")
    stated = int.from_bytes(header[4:], "little") + _RIFF_HEADER
    if stated > size or stated == _RIFF_HEADER:
        raise ValueError(f"truncated AVI ({size} of {stated} bytes)")


def check_split(dataset: Dataset, root: Path, split: str) -> SplitCheck:
    """Decode every video of a split; hold captions against scenes and MAGE's vocabulary.

    The lengths are noted, and how many captions have a scene.
    """
    folder = find_split(dataset, root, split)
    listings = {
        mode: list_split(dataset, root, split, captions=mode)
        for mode in MODES
        if captions_file(folder, split, mode).exists()
    }
    problems: dict[Path, str] = {}
    lengths = Counter[int]()
    paths = dict.fromkeys(video.path for listing in listings.values() for video in listing.videos)
    for path in track(paths, f"verifying {dataset.name}/{split}", len(paths)):
        try:
            _check_avi(path)
            lengths[count_with_decord(path)] += 1
        except ValueError as error:
            problems[path] = str(error)
    counts = ", ".join(f"{length} ({number:,})" for length, number in sorted(lengths.items()))
    notes = [f"decoded lengths in frames (videos): {counts or 'none'}"]
    known = WORDS[dataset.name.removeprefix("cater_")]
    for mode, listing in listings.items():
        scenes, words = 0, set[str]()
        for video in listing.videos:
            words |= {*tokenize(video.condition or "")}
            scenes += video.scene.is_file()
            if problem := _caption_problem(video, mode):
                problems.setdefault(video.path, problem)
        unknown = ", ".join(sorted(map(printable, words - known))) or "none"
        notes.append(
            f"{mode}: {len(listing.videos)} captions, {scenes} with a scene; words that MAGE's "
            f"vocabulary lacks: {unknown}"
        )
    broken = tuple(Problem(path, reason) for path, reason in problems.items())
    readable = (v for videos in listings.values() for v in videos.videos if v.path not in problems)
    return SplitCheck(len(paths) - len(broken), broken, tuple(notes), stand_in=mark_of(readable))


def _caption_problem(video: CaterVideo, mode: Mode) -> str | None:
    """Return what is wrong with a caption: its grammar, or that its scene has other moves."""
    try:
        said = parse(video.condition or "")
        if not said:
            return "empty caption"
        if not video.scene.is_file():
            return None
        true = moves_of(load_json(video.scene, dict[str, Any], "get it again"), mode)
    except LamdError as error:
        return printable(str(error))
    agrees = len(said) == len(true) and all(map(describes, said, true))
    return None if agrees else f"{mode} caption describes other moves than the scene"
