"""Landscape (Sky Time-lapse) as it lies on disk: `sky_{train,test}/<video>/<video>_<n>/*.jpg`.

Each `<video>_<n>` folder is one short video of 640x360 frames, cut from the long video `<video>`.
The public archive `sky_timelapse.zip` unpacks to a folder `sky_timelapse`, which may stay.
"""

from pathlib import Path

from lamd.base.errors import LamdError
from lamd.data.folders import Flaw, FolderScan, FrameSplit, printable

SPLITS = ("train", "test")
ARCHIVE_FOLDER = "sky_timelapse"
FRAME_SUFFIXES = (".jpg", ".jpeg")
LAYOUT = "{sky_train,sky_test}/<video>/<video>_<n>/*.jpg"


def split_folder(root: Path, split: str) -> Path:
    """Find the folder of a split, `root/sky_train` or `root/sky_timelapse/sky_train`.

    Raises:
        LamdError: when there is none, or it is a link that leads out of `root`.
    """
    if split not in SPLITS:
        raise LamdError(f"split {split!r}: unknown; Landscape has {' and '.join(SPLITS)}")
    places = [base / f"sky_{split}" for base in (root, root / ARCHIVE_FOLDER)]
    for folder in places:
        if folder.is_dir():
            if not folder.resolve().is_relative_to(root.resolve()):
                raise LamdError(f"{folder}: link leads out of {root}; put the folder itself there")
            return folder
    raise LamdError(
        f"{places[0]}: no such folder; unpack Sky Time-lapse to {LAYOUT} below LAMD_DATA"
        " or run `lamd data simulate landscape ROOT`"
    )


def open_landscape(root: Path, split: str) -> FrameSplit:
    """List the short videos of `split` below `root` (the folder that holds `sky_train`).

    Raises:
        LamdError: when the split's folder is missing or cannot be read.
    """
    folder = split_folder(root, split)
    scan = FolderScan(root.resolve())
    try:
        long_videos = scan.entries(folder)
    except OSError as error:
        raise LamdError(f"{folder}: {error.strerror}; make it readable") from None
    videos, strays = [], []
    for long_video in long_videos:
        try:
            flaw = scan.flaw(long_video, folder=True)
            short_videos = [] if flaw else scan.entries(Path(long_video.path))
            reason = flaw or (None if short_videos else "empty folder")
        except OSError as error:
            reason, short_videos = f"cannot be read ({error.strerror})", []
        if reason:
            strays.append(Flaw(Path(long_video.path), reason))
        for entry in short_videos:
            key = printable(f"landscape/{split}/{long_video.name}/{entry.name}")
            if entry.is_symlink() or entry.is_dir():
                videos.append(scan.frames(key, entry, FRAME_SUFFIXES))
            else:
                strays.append(Flaw(Path(entry.path), "not a folder of frames"))
    state = scan.state.hexdigest()
    return FrameSplit("landscape", split, folder, tuple(videos), tuple(strays), state)
