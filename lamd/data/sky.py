"""Landscape (Sky Time-lapse) on disk: `sky_{train,test}/<video>/<video>_<n>/*.jpg`.

Each `<video>_<n>` folder is one short video of 640x360 frames, cut from the long video `<video>`.
The public archive `sky_timelapse.zip` unpacks to a folder `sky_timelapse`, which may stay.
"""

from dataclasses import replace
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.base.files import read_file, user_path
from lamd.base.terminal import printable
from lamd.data.dataset import Dataset, FrameOptions, SplitCheck, register
from lamd.data.frames import FrameDecoder, Resize, check_frames
from lamd.data.listing import FolderScan, FrameFolder, Listing, digest, mark_of
from lamd.data.packed import windows
from lamd.data.stand_in import read_stand_in

CLIP_FRAMES = 32
# long videos, clips of 32 frames; the readme does not say how the clips were counted
README = {"train": (997, 35_383), "test": (111, 2_815)}


class LandscapeOptions(FrameOptions):
    """Own keys of Landscape."""

    augmentations = frozenset({"flip", "crop"})

    # folder of train.txt and test.txt, a short video `<video>/<video>_<n>` per line; None: all
    video_lists: str | None = None


LANDSCAPE = register(
    Dataset(
        name="landscape",
        label="Landscape",
        published_size=128,
        published_options={"resize": "pillow_bilinear"},  # MDGAN's and DTVNet's
        download="download Sky Time-lapse (sky_timelapse.zip) and unpack it to "
        "$LAMD_DATA/sky_timelapse/{sky_train,sky_test}/<video>/<video>_<n>/*.jpg",
        reader=__name__,
        options=LandscapeOptions,
        expected_counts={"train": 2_392, "test": 225},
        unit="short videos",
        packed_counts={split: clips for split, (_, clips) in README.items()},
        video_frames={"simulated": 53},  # mean of the usable ones
        simulator="lamd.standins.sky.write:simulate",
        has_futures=True,
        generator="landscape_sim.v3",
        frame_sizes={64: (256, 144)},
    )
)


def find_split(dataset: Dataset, root: Path, split: str) -> Path:
    """Find the folder of a split, `root/sky_train` or `root/sky_timelapse/sky_train`."""
    return dataset.find_folder(root, f"sky_{split}", f"sky_timelapse/sky_{split}")


def list_split(
    dataset: Dataset, root: Path, split: str, *, video_lists: str | None = None, **_: object
) -> Listing[FrameFolder]:
    """List the short videos of a split, or those of a list, in its order, each once.

    LamdError when the list cannot be read or names a video that is not there.
    """
    scan = FolderScan(dataset.name, root, split, find_split(dataset, root, split))
    entries = (entry for long_video in scan.entries() for entry in scan.children(long_video))
    listing = scan.listing(scan.frames(entry, (".jpg", ".jpeg")) for entry in entries)
    return listing if video_lists is None else _listed(listing, user_path(video_lists))


def _listed(listing: Listing[FrameFolder], folder: Path) -> Listing[FrameFolder]:
    path, fix = folder / f"{listing.split}.txt", "give data.video_lists a folder with it"
    try:
        lines = read_file(path, fix).decode("utf-8").split()
        names = tuple(dict.fromkeys(line.rstrip("/") for line in lines))  # as in cINN's test.txt
    except UnicodeDecodeError:
        raise LamdError(f"{path}: not text; {fix}") from None
    videos = {video.path.relative_to(listing.folder).as_posix(): video for video in listing.videos}
    missing = [name for name in names if name not in videos]
    if missing or not names:
        first = f", such as {printable(missing[0])}" if missing else ""
        reason = f"{len(missing)} of {len(names)} videos are not in {listing.folder}{first}"
        raise LamdError(f"{path}: {reason}; correct the list")
    return replace(
        listing, videos=tuple(videos[name] for name in names), unexpected_files=(),
        fingerprint=digest(listing.fingerprint, *names),
    )  # fmt: skip


def decoder(
    dataset: Dataset, *, size: int, num_frames: int, resize: Resize | None = None, **_: object
) -> FrameDecoder:
    """Return the rule for a video: all its frames, at least `num_frames`, resized whole (paper)."""
    return FrameDecoder(size, num_frames, resize=resize or "lanczos")


def check_split(dataset: Dataset, root: Path, split: str) -> SplitCheck:
    """Decode every frame of a split; note long videos, clips, and short videos, which are sound."""
    listing = list_split(dataset, root, split)
    sound, problems, seen = check_frames(listing)
    lengths = [len(video.frames) for video in sound]
    num_clips = len(windows(lengths, CLIP_FRAMES, CLIP_FRAMES))
    num_long = len({video.path.parent for video in listing.videos})
    clips = f"clips of {CLIP_FRAMES} frames from starts 0, {CLIP_FRAMES}, ..."
    readme = ["", ""]
    stand_in = mark_of(sound)
    if read_stand_in(root) is None and stand_in is None:
        readme = [f" (readme: {count:,})" for count in README[split]]
    notes = [f"long videos: {num_long:,}{readme[0]}; {clips}: {num_clips:,}{readme[1]}"]
    notes += [
        f"short: {video.key}, {length} frames"
        for video, length in zip(sound, lengths, strict=True)
        if length < CLIP_FRAMES
    ]
    return SplitCheck(len(sound), problems, (*notes, *seen), stand_in=stand_in)
