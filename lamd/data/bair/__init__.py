"""BAIR robot pushing."""

from typing import Literal

from lamd.config.strict import Strict
from lamd.data.dataset import Dataset, register


class BairOptions(Strict):
    """Own keys of BAIR."""

    camera: Literal["image_main", "image_aux1"]


BAIR = register(
    Dataset(
        name="bair",
        label="BAIR",
        published_size=64,
        download="download BAIR robot pushing (softmotion30_44k, about 30 GB) and put it at "
        "$LAMD_DATA/softmotion30_44k/{train,test}/traj_*.tfrecords",
        reader="lamd.data.bair.reader",
        options=BairOptions,
        prepared={"size": 64, "camera": "image_aux1"},
        expected_counts={"train": 43_264, "test": 256},
        unit="trajectories",
        packed_counts={"train": 43_264, "test": 256},
        video_frames={"real": 30, "simulated": 30},
        simulator="lamd.standins.robot.write:simulate",
        generator="bair_sim.v1",
    )
)
