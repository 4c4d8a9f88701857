"""Landscape, from Sky Time-lapse."""

from lamd.data.dataset import CorruptOptions, Dataset, register

LANDSCAPE = register(
    Dataset(
        name="landscape",
        label="Landscape",
        published_size=128,
        download="download Sky Time-lapse (sky_timelapse.zip) and unpack it to "
        "$LAMD_DATA/sky_timelapse/{sky_train,sky_test}/<video>/<video>_<n>/*.jpg",
        reader="lamd.data.sky.reader",
        options=CorruptOptions,
        prepared={"size": 128, "num_frames": 32, "on_corrupt": "raise"},
        expected_counts={"train": 2_392, "test": 225},
        unit="short videos",
        packed_counts={"train": 35_383, "test": 2_815},  # clips, by its readme
        video_frames={"simulated": 53},  # mean of the usable ones
        simulator="lamd.standins.sky.write:simulate",
        generator="landscape_sim.v3",
        frame_sizes={64: (256, 144)},
    )
)
