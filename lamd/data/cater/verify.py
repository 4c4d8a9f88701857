"""Check CATER-GEN: videos decode, captions tell what the scenes tell."""

import json
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.data.bair.reader import SPLITS
from lamd.data.cater.captions import MODES, moves_of, parse, tells
from lamd.data.cater.reader import (
    CaterVideo,
    captions_file,
    check_whole,
    data_folder,
    open_cater,
    shown,
)
from lamd.data.folders import Flaw, printable
from lamd.data.stand_in import read_stand_in
from lamd.data.verify import SplitReport, VerifyReport
from lamd.io.clips import decode_video

# what the script that makes the captions asks for; nothing is known of v1
CATER_COUNTS = {"v1": {}, "v2": {"train": 24_000, "test": 6_000}}


def verify_cater(root: Path, *, version: str, splits: tuple[str, ...] = SPLITS) -> VerifyReport:
    """Decode every video of CATER-GEN `version` below `root`; hold captions against scenes.

    Videos are expected as in a stand-in's manifest, for the real v2 as in its authors' script, and
    for the real v1 as many as are listed. A missing scene is only counted.

    Raises:
        LamdError: when a split has no captions or a malformed JSON; broken videos are reported.
    """
    name = f"cater_{version}"
    stand_in = read_stand_in(root, name)
    kind = "real data" if stand_in is None else f"stand-in {stand_in}"
    counts = CATER_COUNTS[version] if stand_in is None else stand_in.counts
    reports = tuple(_cater_split(root, version, split, counts.get(split)) for split in splits)
    return VerifyReport(name, root, kind, "videos", reports)


def _cater_split(root: Path, version: str, split: str, expected: int | None) -> SplitReport:
    folder = data_folder(root, version)
    modes = [mode for mode in MODES if captions_file(folder, split, mode).exists()]
    found = {mode: open_cater(root, version, split, mode) for mode in modes or MODES[:1]}
    broken: dict[Path, Flaw] = {}
    paths = dict.fromkeys(video.path for listed in found.values() for video in listed.videos)
    for path in shown(list(paths), f"verifying cater_{version}/{split}"):
        try:
            check_whole(path)
            decode_video(path)
        except ValueError as error:
            broken[path] = Flaw(path, str(error))
    notes = []
    for mode, listed in found.items():
        scenes = 0
        for video in listed.videos:
            scenes += video.scene.is_file()
            if flaw := _caption_flaw(video, mode):
                broken.setdefault(video.path, Flaw(video.path, flaw))
        notes.append(f"{mode}: {len(listed.videos)} captions, {scenes} with a scene")
    sound = len(paths) - len(broken)
    return SplitReport(split, expected, sound, tuple(broken.values()), tuple(notes))


def _caption_flaw(video: CaterVideo, mode: str) -> str | None:
    """Say what is wrong with a caption: its grammar, or that its scene tells of other moves."""
    try:
        told = parse(video.caption)
        if not told:
            return "empty caption"
        if not video.scene.is_file():
            return None
        true = moves_of(json.loads(video.scene.read_text(encoding="utf-8")), mode)
    except LamdError as error:
        return printable(str(error))
    except (OSError, ValueError, RecursionError) as error:
        return f"scene cannot be read ({printable(str(error))})"
    agrees = len(told) == len(true) and all(map(tells, told, true))
    return None if agrees else f"{mode} caption tells of other moves than the scene"
