"""Check the data sets that are folders of frames: Landscape, NATOPS and MUG."""

from pathlib import Path

from lamd.data.bair.reader import SPLITS
from lamd.data.frames import check_frames
from lamd.data.gestures.reader import GESTURE_SETS, gesture_class, open_gestures
from lamd.data.packed import windows
from lamd.data.sky.reader import open_landscape
from lamd.data.stand_in import StandIn, read_stand_in
from lamd.data.verify import SplitReport, VerifyReport

# long videos, short videos, clips; the readme does not say how the clips were counted
LANDSCAPE_README = {"train": (997, 2_392, 35_383), "test": (111, 225, 2_815)}
LANDSCAPE_CLIP = 32  # frames


def verify_landscape(root: Path, *, splits: tuple[str, ...] = SPLITS) -> VerifyReport:
    """Decode every frame of Landscape below `root`; hold the counts against the expected ones.

    Short videos are expected as in a stand-in's manifest, or as in the readme of the real set.
    Counts of 32-frame windows are only printed. Short videos are listed, they are not broken.

    Raises:
        LamdError: when a split has no folder; broken files are reported instead.
    """
    stand_in = read_stand_in(root, "landscape")
    kind = "real data" if stand_in is None else f"stand-in {stand_in}"
    reports = tuple(_landscape_split(root, split, stand_in) for split in splits)
    return VerifyReport("landscape", root, kind, "short videos", reports)


def _landscape_split(root: Path, split: str, stand_in: StandIn | None) -> SplitReport:
    found = open_landscape(root, split)
    bad_frames = check_frames(found)
    bad = {flaw.path.parent for flaw in bad_frames}
    sound = [v for v in found.videos if not v.flaws and v.folder not in bad]
    lengths = [len(video.frames) for video in sound]
    num_clips = len(windows(lengths, LANDSCAPE_CLIP, LANDSCAPE_CLIP))
    num_long = len({video.folder.parent for video in found.videos})
    if stand_in is None:
        long_videos, expected, clips = LANDSCAPE_README[split]
        in_readme = f" (readme: {long_videos:,})", f" (readme: {clips:,})"
    else:
        expected, in_readme = stand_in.counts.get(split, 0), ("", "")
    notes = (
        f"long videos: {num_long:,}{in_readme[0]}; clips of {LANDSCAPE_CLIP} frames from starts 0,"
        f" {LANDSCAPE_CLIP}, ...: {num_clips:,}{in_readme[1]}",
        *(
            f"short: {video.key}, {length} frames"
            for video, length in zip(sound, lengths, strict=True)
            if length < LANDSCAPE_CLIP
        ),
    )
    return SplitReport(split, expected, len(sound), (*found.flaws(), *bad_frames), notes)


def verify_gestures(name: str, root: Path) -> VerifyReport:
    """Decode every frame of `natops` or `mug` below `root`; count clips, subjects and classes.

    Clips are expected as in a stand-in's manifest, else as many as LFDM's preprocessing makes of
    NATOPS; for MUG no number of clips is stated (reported).

    Raises:
        LamdError: when the folder is missing; broken files are reported instead.
    """
    stand_in = read_stand_in(root, name)
    kind = "real data" if stand_in is None else f"stand-in {stand_in}"
    counts = GESTURE_SETS[name].counts if stand_in is None else stand_in.counts
    reports = tuple(_gesture_split(name, root, split, counts.get(split)) for split in SPLITS)
    return VerifyReport(name, root, kind, "clips", reports)


def _gesture_split(name: str, root: Path, split: str, expected: int | None) -> SplitReport:
    found, of = open_gestures(name, root, split), GESTURE_SETS[name]
    bad_frames = check_frames(found, of.image_formats)
    bad = {flaw.path.parent for flaw in bad_frames}
    sound = [v for v in found.videos if not v.flaws and v.folder not in bad]
    classes = {gesture_class(video.key) for video in sound}
    missing = [label for label in of.classes if label not in classes]
    note = f"classes: {len(classes)} of {len(of.classes)}, {found.num_frames:,} frames"
    note += f"; without a clip: {', '.join(missing)}" if missing else ""
    return SplitReport(split, expected, len(sound), (*found.flaws(), *bad_frames), (note,))
