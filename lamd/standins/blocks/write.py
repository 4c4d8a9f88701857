"""Simulated CATER-GEN on disk: worker processes write AVI and scene JSON, then the captions."""

import io
import json
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from filelock import FileLock

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.data.cater.captions import MODES, scene_caption
from lamd.data.cater.reader import captions_file, data_folder
from lamd.data.stand_in import GENERATORS, StandIn
from lamd.standins.blocks.plan import draw_plan
from lamd.standins.blocks.record import scene_json
from lamd.standins.blocks.stage import CAMERA, build, draw_studio, poses
from lamd.standins.raycast.render import render_clip
from lamd.standins.writer import claim, count_workers, in_order, run_through

FRAME_SIZE = (320, 240)
SMALLEST = (64, 48)
FRAMES_PER_SECOND = 24


@dataclass(frozen=True)
class _Job:
    """One video to be written below `folder`; `generator` names its random streams."""

    folder: Path
    version: str
    generator: str
    seed: int
    split: str
    number: int
    frame_size: tuple[int, int]

    @property
    def stem(self) -> str:
        return f"CATER_{self.split}_{self.number:06d}"

    @property
    def video(self) -> Path:
        return self.folder / "videos" / f"{self.stem}.avi"

    @property
    def scene(self) -> Path:
        return self.folder / "scenes" / f"{self.stem}.json"

    def random(self, purpose: str) -> np.random.Generator:
        return numpy_generator(self.generator, self.seed, self.split, self.number, purpose)


def simulate_cater(
    root: Path,
    *,
    version: str,
    num_train: int,
    num_test: int,
    seed: int,
    num_workers: int | None = None,
    frame_size: tuple[int, int] = FRAME_SIZE,
) -> None:
    """Write the stand-in for CATER-GEN `v1` or `v2` and its manifest: `root/cater_gen_<version>`.

    A split's captions appear when it is complete; the complete videos of an interrupted run are
    kept. `num_workers` (default: one a core) never changes a byte. `frame_size` is (width, height)
    in pixels, 4:3, and shows the same scenes at any size.

    Raises:
        LamdError: when `root` holds real data or a stand-in of another seed, size or generator
            version, or cannot be written.
    """
    counts = {"train": num_train, "test": num_test}
    for split, count in counts.items():
        if count < 1:
            raise LamdError(f"num_{split}: {count} videos asked for; ask for at least 1")
    width, height = frame_size
    if width * 3 != height * 4 or frame_size < SMALLEST or width % 2 or height % 2:
        raise LamdError(f"frame_size: {width}x{height}; give even 4:3, 64x48 or larger")
    workers, name = count_workers(num_workers), f"cater_{version}"
    generator, folder = GENERATORS[name], data_folder(root, version)
    claim(root, StandIn(name, f"{generator}.{width}x{height}", seed, counts), [folder.name])
    with FileLock(root / ".simulate.lock"):
        for split, count in counts.items():
            jobs = [
                _Job(folder, version, generator, seed, split, number, frame_size)
                for number in range(count)
            ]
            if not all(captions_file(folder, split, mode).exists() for mode in MODES):
                _write_split(jobs, workers)


def _write_split(jobs: list[_Job], workers: int) -> None:
    try:
        for name in ("videos", "scenes"):
            (jobs[0].folder / name).mkdir(parents=True, exist_ok=True)
        missing = [job for job in jobs if not job.video.exists()]
        if missing:
            finished = in_order(_write_video, missing, min(workers, len(missing)))
            run_through(finished, len(missing), f"cater_{jobs[0].version}/{jobs[0].split}")
        for mode in MODES:
            captions = {str(job.number): _caption(job, mode) for job in jobs}
            _write_whole(
                captions_file(jobs[0].folder, jobs[0].split, mode), json.dumps(captions).encode()
            )
    except OSError as error:
        raise LamdError(
            f"{jobs[0].folder}: {error.strerror or error}; make room or make it writable"
        ) from None


def _caption(job: _Job, mode: str) -> dict[str, str]:
    scene = json.loads(job.scene.read_text(encoding="utf-8"))
    text = scene_caption(scene, job.version, mode, job.random("caption"))
    return {"video": f"videos/{job.video.name}", "caption": text}


def _write_video(job: _Job) -> None:
    """Write a scene, then its video; each appears whole."""
    plan = draw_plan(job.random("scene"), job.version)
    views = render_clip(build(plan), draw_studio(job.random("look")), poses(plan), job.frame_size)
    scene = scene_json(plan, job.split, job.number, job.video.name, job.frame_size)
    _write_whole(job.scene, json.dumps(scene).encode())
    _write_whole(job.video, _avi(views[CAMERA]))


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _avi(video: np.ndarray) -> bytes:
    """Encode uint8 (T, H, W, 3): each frame a JPEG, so that what stands still stays the same."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=Fraction(FRAMES_PER_SECOND))
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuvj444p"
        # qscale is a word of the ffmpeg command alone: a stream takes no notice of it
        stream.options = {"qmin": "2", "qmax": "2", "threads": "1"}
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
