"""Where the real data sets lie below LAMD_DATA, and what tells that their files have changed."""

import os
from functools import partial
from itertools import product
from pathlib import Path

from lamd.base.errors import LamdError

SPLITS = ("train", "test")
_CATER = {"cater_v1": "v1", "cater_v2": "v2"}
_DOWNLOADS = {
    "bair": "download BAIR robot pushing (softmotion30_44k, about 30 GB) and put it at "
    "$LAMD_DATA/softmotion30_44k/{train,test}/traj_*.tfrecords",
    "landscape": "download Sky Time-lapse (sky_timelapse.zip) and unpack it to "
    "$LAMD_DATA/sky_timelapse/{sky_train,sky_test}/<video>/<video>_<n>/*.jpg",
    **{
        name: f"download CATER-GEN-{version} (linked in Youncy-Hu/MAGE's readme) and put it at "
        f"$LAMD_DATA/cater_gen_{version}/{{videos/*.avi,{{train,test}}_{{ambiguous,explicit}}.json}}"
        for name, version in _CATER.items()
    },
    "natops": "get NATOPS, cut its videos by segmentation.txt, and put the frames at "
    "$LAMD_DATA/natops/gGGsSSpPP/*.png",
    "mug": "ask for MUG and put it at $LAMD_DATA/mug/<subject>/<expression>/<take>/*.jpg",
}


def real_root(name: str) -> Path:
    """Return the root of the real data set `name`.

    Raises:
        LamdError: when LAMD_DATA is not set or holds no such data set.
    """
    from lamd.data import check_dataset
    from lamd.data.cater.captions import MODES
    from lamd.data.cater.reader import captions_file, data_folder
    from lamd.data.gestures.reader import GESTURE_SETS, gesture_folder
    from lamd.data.sky.reader import split_folder

    check_dataset(name)
    what = _DOWNLOADS[name]
    place = os.environ.get("LAMD_DATA")
    if not place:
        raise LamdError(f"data.source real: LAMD_DATA is not set; {what}")
    root = Path(place).expanduser()
    if name in GESTURE_SETS:
        gesture_folder(root, name)
        return root
    for split in SPLITS:
        if name == "landscape":
            split_folder(root, split)
        elif name in _CATER:
            folder = data_folder(root, _CATER[name])
            if not any(captions_file(folder, split, mode).is_file() for mode in MODES):
                raise LamdError(f"{folder}: no captions of the {split} split there; {what}")
        elif not any((folder := root / "softmotion30_44k" / split).glob("*.tfrecords")):
            raise LamdError(f"{folder}: no TFRecord files there; {what}")
    return root


def real_files(name: str) -> list[list[str | int]] | None:
    """Return name, size and time of each real file; but for BAIR, one hash of them a split.

    Part of the data cell's key, so that other files are other data. None when there is no real
    data.
    """
    from lamd.data.cater.captions import MODES
    from lamd.data.cater.reader import captions_file, data_folder, open_cater
    from lamd.data.gestures.reader import open_gestures
    from lamd.data.sky.reader import open_landscape

    try:
        root = real_root(name)
        if name in _CATER:
            listed = [
                open_cater(root, _CATER[name], split, mode)
                for split, mode in product(SPLITS, MODES)
                if captions_file(data_folder(root, _CATER[name]), split, mode).is_file()
            ]
            return [[one.captions.name, len(one.videos), one.fingerprint] for one in listed]
        if name != "bair":
            opened = open_landscape if name == "landscape" else partial(open_gestures, name)
            found = [opened(root, split) for split in SPLITS]
            return [[one.split, one.num_frames, one.fingerprint] for one in found]
    except LamdError:
        return None
    paths = sorted((root / "softmotion30_44k").glob("*/*.tfrecords"))
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
