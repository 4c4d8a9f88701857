"""CATER-GEN, versions 1 and 2."""

from typing import Literal

from lamd.config.strict import Count
from lamd.data.dataset import CorruptOptions, Dataset, register


class CaterOptions(CorruptOptions):
    """Own keys of CATER-GEN."""

    captions: Literal["ambiguous", "explicit"]  # the conditions
    frame_interval: Count  # from one frame of a clip to the next


def _register(version: str, counts: dict[str, int]) -> Dataset:
    return register(
        Dataset(
            name=f"cater_{version}",
            label=f"CATER-GEN-{version}",
            published_size=128,
            download=f"download CATER-GEN-{version} (linked in Youncy-Hu/MAGE's readme) and put it "
            f"at $LAMD_DATA/cater_gen_{version}/"
            "{videos/*.avi,{train,test}_{ambiguous,explicit}.json}",
            reader="lamd.data.cater.reader",
            options=CaterOptions,
            prepared={
                "size": 128,
                "num_frames": 16,
                "frame_interval": 4,  # MAGE draws an interval of 3 to 6
                "captions": "explicit",
                "on_corrupt": "raise",
            },
            expected_counts=counts,
            simulator="lamd.standins.blocks.write:simulate",
            generator=f"cater_{version}_sim.v2",
            frame_sizes={64: (96, 72)},
        )
    )


CATER_V1 = _register("v1", {})  # its number of videos is not known
CATER_V2 = _register("v2", {"train": 24_000, "test": 6_000})  # as the captions' script asks for
