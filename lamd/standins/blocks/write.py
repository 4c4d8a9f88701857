"""Simulated CATER-GEN: AVI and scene in CATER's schema for each video, then the captions."""

import io
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from lamd.base.files import load_json, write_atomically
from lamd.data.cater import captions_file, data_folder
from lamd.data.cater.captions import MODES, Mode, scene_caption
from lamd.data.dataset import Dataset
from lamd.standins.blocks.scene import (
    CAMERA,
    Studio,
    build,
    draw_future,
    draw_plan,
    poses,
    scene_json,
)
from lamd.standins.raycast.render import render_clip
from lamd.standins.writer import Part, Request, write

FRAME_SIZE = (320, 240)
SMALLEST = (64, 48)
FRAMES_PER_SECOND = 24


@dataclass(frozen=True)
class _Job:
    """One video to be written, and its scene."""

    request: Request
    split: str
    number: int

    @property
    def video(self) -> Path:
        return self._folder / "videos" / f"CATER_{self.split}_{self.number:06d}.avi"

    @property
    def scene(self) -> Path:
        return self._folder / "scenes" / f"{self.video.stem}.json"

    @property
    def _folder(self) -> Path:
        return data_folder(self.request.root, self.request.dataset.name)

    @property
    def version(self) -> str:
        return self.request.dataset.name.removeprefix("cater_")

    def random(self, purpose: str) -> np.random.Generator:
        return self.request.random(self.split, self.number, purpose)


def simulate(dataset: Dataset, root: Path, **options: Any) -> None:
    """Write `root/cater_gen_<version>`; a split's captions appear when it is complete."""
    request = Request(dataset, root, **options).sized(FRAME_SIZE, SMALLEST)
    write(request, _missing_videos(request))


def _missing_videos(request: Request) -> Iterator[Part]:
    folder = data_folder(request.root, request.dataset.name)
    for split, count in request.counts.items():
        files = {mode: captions_file(folder, split, mode) for mode in MODES}
        if not all(path.exists() for path in files.values()):
            jobs = [_Job(request, split, number) for number in range(count)]
            missing = [partial(_write_video, job) for job in jobs if not job.video.exists()]
            yield Part(missing, partial(_write_captions, files, jobs))


def _write_captions(files: Mapping[Mode, Path], jobs: list[_Job], done: Iterator[None]) -> None:
    deque(done, maxlen=0)
    for mode, path in files.items():
        captions = {}
        for job in jobs:
            scene = load_json(job.scene, dict[str, Any], "delete it and simulate again")
            text = scene_caption(scene, job.version, mode, job.random("caption"))
            captions[str(job.number)] = {
                "video": f"videos/{job.video.name}",
                "caption": text,
                "stand_in": job.request.stand_in.mark,
            }
        write_atomically(path, json.dumps(captions))


def _write_video(job: _Job) -> None:
    """Write a scene, then its video; each appears whole."""
    size, mark = job.request.size, job.request.stand_in.mark
    plan = draw_plan(job.random("scene"), job.version)
    other, future = job.request.other_motion(job.split, job.number), job.request.future
    if other and future:
        plan = draw_future(other, plan, future.own["captions"])
    views = render_clip(build(plan), Studio(job.random("look")), poses(plan), size)
    scene = scene_json(plan, job.split, job.number, job.video.name, size)
    write_atomically(job.scene, json.dumps(scene | {"stand_in": mark}))
    write_atomically(job.video, _avi(views[CAMERA], mark))


def _avi(video: np.ndarray, comment: str) -> bytes:
    """Encode uint8 (T, H, W, 3): each frame a JPEG, so that still things stay the same."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        container.metadata["comment"] = comment
        stream = container.add_stream("mjpeg", rate=Fraction(FRAMES_PER_SECOND))
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuvj444p"
        # qscale is an option of the ffmpeg command alone: a stream ignores it
        stream.options = {"qmin": "2", "qmax": "2", "threads": "1"}
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
