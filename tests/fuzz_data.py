"""Hostile data: TFRecords, arrays, videos and pictures."""

import gzip
import io
import json
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import av
import numpy as np
from fuzz_box import EITHER, REFUSED, Attempt, Box
from fuzz_text import BIDI, CONTROL, DIGITS, TINY
from PIL import Image, PngImagePlugin

from lamd.data.bair import NUM_FRAMES
from lamd.data.bair.tfrecord import encode_example, masked_crc


def damaged(data: bytes, flips: int = 3, cuts: int = 3) -> dict[str, bytes]:
    """Return copies of a file with flipped bits, and its beginnings."""
    rng, copies = random.Random(len(data)), {}
    for i in range(flips):
        copy = bytearray(data)
        for _ in range(4**i):
            copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
        copies[f"{4**i} flipped bits"] = bytes(copy)
    for i in range(cuts):
        copies[f"the first {i + 1} of {cuts + 1} parts"] = data[: len(data) * (i + 1) // (cuts + 1)]
    return copies


# TFRecord


def framed(data: bytes, length: int | None = None) -> bytes:
    """Return a record with sound checksums, whose header may state another length."""
    header = (len(data) if length is None else length).to_bytes(8, "little")
    return header + masked_crc(header) + data + masked_crc(data)


@cache
def trajectory() -> dict[str, bytes | list[float]]:
    """Return the features of a black trajectory."""
    features: dict[str, bytes | list[float]] = {}
    for i in range(NUM_FRAMES):
        features |= {f"{i}/{c}/encoded": bytes(64 * 64 * 3) for c in ("image_main", "image_aux1")}
        features |= {f"{i}/action": [0.0] * 4, f"{i}/endeffector_pos": [0.0] * 3}
    return features


def record(drop: str = "", **changes: bytes | list[float]) -> bytes:
    """Return the record of a trajectory with changed features."""
    features = {key: value for key, value in trajectory().items() if key != drop}
    return framed(encode_example(features | changes))


REAL = TINY.replace("source: simulated", "source: real").replace("simulation_seed: 0", "").replace(
    "num_train: 12", "num_train: 1").replace("num_test: 4", "num_test: 1")  # fmt: skip


def tfrecords() -> Iterator[Attempt]:
    """Yield files of BAIR that `lamd data verify` and `lamd data prepare` read."""
    frame = "3/image_aux1/encoded"
    sound = record()
    nested = b""
    for _ in range(300):
        nested = b"\x0a" + _varint(len(nested)) + nested
    key = encode_example({"0/action": [0.0]})
    files: dict[str, bytes] = {
        "nothing": b"",
        "three bytes": b"abc",
        "a wrong checksum of the length": b"\1" + sound[1:],
        "a length of 2^63": framed(b"x", 1 << 63),
        "a length of 2^64 - 1": framed(b"x", (1 << 64) - 1),
        "a length that wraps around": framed(b"x", (1 << 64) - 16),
        "a length past the end": framed(b"x", 1000),
        "a wrong checksum of the data": sound[:-1] + bytes([sound[-1] ^ 1]),
        "bytes behind the last record": sound + b"x" * 100,
        "100,000 empty records": framed(b"") * 100_000,
        "no Example": framed(b"\xff" * 1000),
        "an Example without features": framed(b""),
        "nested messages": framed(nested),
        "a key 100,000 times": framed(key * 100_000),
        "a key that is no text": framed(key.replace(b"0/action", b"\xff\xfe/actio")),
        "a key of control characters": framed(key.replace(b"0/action", b"\x1b[31mxxx")),
        "a missing frame": record(drop=frame),
        "31 frames": record(**{"30/image_aux1/encoded": b""}),
        "a short frame": record(**{frame: b"x"}),
        "a frame of 10 MB": record(**{frame: bytes(10_000_000)}),
        "numbers in place of a frame": record(**{frame: [1.0]}),
        "bytes in place of numbers": record(**{"3/action": b"x"}),
        "a million numbers": record(**{"3/action": [0.0] * 1_000_000}),
        "a gzip file": gzip.compress(sound),
        "a page of HTML": b"<html>" + b" " * 10_000,
        "a pickle": b"cos\nsystem\n(S'touch ../outside/made'\ntR.",
        "headers of wrong checksums": _alternating(3000),
        **damaged(sound),
    }
    for name, data in files.items():

        def prepare(box: Box, data: bytes = data) -> list[str]:
            box.write("real.yaml", REAL)
            for split in ("train", "test"):
                box.write(f"data/softmotion30_44k/{split}/traj_0_to_0.tfrecords", data)
            return ["data", "prepare", "./real.yaml", "--profile", "quick"]

        def verify(box: Box, prepare: Callable[[Box], list[str]] = prepare) -> list[str]:
            prepare(box)
            return ["data", "verify", "bair", "--root", "data"]

        unread = ("bytes in place of numbers", "a million numbers")  # of the arm, not the camera
        codes = EITHER if name in unread or "flipped" in name else REFUSED
        yield Attempt("tfrecord", f"prepare: {name}", prepare, codes, {"LAMD_DATA": "data"})
        if name in ("nothing", "headers of wrong checksums", "a million numbers", "nested messages",
                    "a length of 2^64 - 1", "a key of control characters"):  # fmt: skip
            yield Attempt("tfrecord", f"verify: {name}", verify)
    names = {
        "a number without end in its name": f"traj_0_to_{'9' * 200}.tfrecords",
        "numbers that fall in its name": "traj_9_to_0.tfrecords",
        "Arabic digits in its name": "traj_\u0660_to_\u0660.tfrecords",
        "a line break in its name": "traj_0_to_0\n.tfrecords",
    }
    for name, file in names.items():

        def named(box: Box, file: str = file) -> list[str]:
            for split in ("train", "test"):
                box.write(f"data/softmotion30_44k/{split}/{file}", sound)
            return ["data", "verify", "bair", "--root", "data"]

        yield Attempt("tfrecord", name, named)

    def sparse(box: Box) -> list[str]:
        for split in ("train", "test"):
            path = box.write(f"data/softmotion30_44k/{split}/traj_0_to_0.tfrecords", b"")
            os.truncate(path, 1 << 36)
        return ["data", "verify", "bair", "--root", "data"]

    def sparse_record(box: Box) -> list[str]:
        box.write("real.yaml", REAL)
        for split in ("train", "test"):
            header = ((1 << 35) - 16).to_bytes(8, "little")
            file = f"data/softmotion30_44k/{split}/traj_0_to_0.tfrecords"
            os.truncate(box.write(file, header + masked_crc(header)), 1 << 35)
        return ["data", "prepare", "./real.yaml", "--profile", "quick"]

    yield Attempt("tfrecord", "64 GiB of zeros", sparse)
    yield Attempt("tfrecord", "a record of 32 GiB", sparse_record, REFUSED, {"LAMD_DATA": "data"})
    manifest = {"dataset": "bair", "generator": "bair_sim.v1", "seed": 0,
                "counts": {"train": 1, "test": 1}}  # fmt: skip
    marks: dict[str, str] = {
        "100,000 levels": "[" * 100_000,
        "a generator of control characters": json.dumps(manifest | {"generator": CONTROL}),
        "a generator of bidirectional marks": json.dumps(manifest | {"generator": BIDI}),
        "a split of control characters": json.dumps(manifest | {"counts": {CONTROL: 1}}),
        "a seed of 10,000 digits": json.dumps(manifest)[:-1] + f', "seed": {DIGITS}}}',
        "negative counts": json.dumps(manifest | {"counts": {"train": -1, "test": -1}}),
        "another data set": json.dumps(manifest | {"dataset": CONTROL}),
        "not a number": json.dumps(manifest | {"seed": float("nan")}),
        "nothing": "",
    }
    for name, text in marks.items():

        def marked(box: Box, text: str = text) -> list[str]:
            for split in ("train", "test"):
                box.write(f"data/softmotion30_44k/{split}/traj_0_to_0.tfrecords", sound)
            box.write("data/stand_in.json", text)
            return ["data", "verify", "bair", "--root", "data"]

        yield Attempt("tfrecord", f"mark: {name}", marked, EITHER if "a " in name else REFUSED)

    def unmarked(box: Box) -> list[str]:
        box.copy("data")
        (box.work / "data" / "stand_in.json").unlink()
        return ["data", "verify", "bair", "--root", "data"]

    def dangling(box: Box) -> list[str]:
        words = unmarked(box)
        (box.work / "data" / "stand_in.json").symlink_to("nowhere")
        return words

    def still_marked(box: Box, stdout: str) -> str | None:
        return "a stand-in passes as real data" if "real data" in stdout else None

    for name, copied in (("no mark", unmarked), ("a mark that is a dangling link", dangling)):
        yield Attempt("tfrecord", f"stand-in: {name}", copied, EITHER, check=still_marked)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _alternating(count: int) -> bytes:
    """Return records of many lengths, then headers that fit none of them."""
    sound = b"".join(framed(bytes(i)) for i in range(0, count))
    broken = b"".join(bytes(12) + bytes(4) for _ in range(2000))
    return sound + broken + framed(b"")


# .npy


def npy(header: bytes, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """Return an `.npy` file with this header."""
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes(version) + size + header + b"\n" + body


def described(shape: object, descr: object = "|u1", body: bytes = b"", **options) -> bytes:
    """Return an `.npy` file with a header of NumPy's form."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return npy(text.encode(), body, **options)


def saved(array: np.ndarray) -> bytes:
    """Return the `.npy` file of an array."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


CLIPS = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)


def arrays() -> Iterator[Attempt]:
    """Yield `.npy` files of clips that `lamd evaluate` reads."""
    shape, body = CLIPS.shape, CLIPS.tobytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("arr.npy", saved(CLIPS)[:128] + bytes(200_000_000))
    call = b"{'descr': __import__('os').system('touch ../outside/made'), 'fortran_order': False}"
    files: dict[str, bytes] = {
        "nothing": b"",
        "the first bytes": b"\x93NUMPY",
        "a pickle": b"cos\nsystem\n(S'touch ../outside/made'\ntR.",
        "an array of objects": described((1,), "|O", b"cos\nsystem\n(S'x'\ntR."),
        "a call in the header": npy(call),
        "50,000 brackets in the header": npy(b"(" * 50_000),
        "a header of 2 GiB": b"\x93NUMPY\2\0" + struct.pack("<I", 0x7FFFFFFF) + b"{}",
        "a header that is a number": npy(b"42"),
        "a header with NUL": npy(b"{'descr': '|u1'\0, 'fortran_order': False, 'shape': (1,)}"),
        "a header of control characters": npy(b"{'\x1b[31m': 1}"),
        "an unknown version": described(shape, body=body, version=(9, 9)),
        "version 2": described(shape, body=body, version=(2, 0)),
        "version 3": described(shape, body=body, version=(3, 0)),
        "a negative shape": described((-1, 4, 16, 16, 3)),
        "a shape of 2^62": described((2**62, 4, 16, 16, 3)),
        "a shape of 10,000 digits": described(f"({DIGITS}, 4, 16, 16, 3)"),
        "a shape of floats": described((1.0, 4, 16, 16, 3), body=body),
        "a shape of truth values": described((True, 4, 16, 16, 3), body=body),
        "an empty shape": described(()),
        "100,000 axes": described("(" + "1, " * 3000 + ")"),
        "no clips": described((0, 4, 16, 16, 3)),
        "no frames": described((2, 0, 16, 16, 3)),
        "no pixels": described((2, 4, 0, 16, 3)),
        "four axes": described((8, 16, 16, 3), body=body),
        "four channels": described((2, 4, 16, 12, 4), body=body),
        "floats": described(shape, "<f8", body * 8),
        "truth values": described(shape, "|b1", body),
        "dates": described(shape, "<M8[s]", body * 8),
        "dates of control characters": described(shape, "<M8[\x1b[31m]"),
        "items of 2^31 bytes": described(shape, "|V2147483647"),
        "items of nothing": described(shape, "|V0"),
        "records with names of control characters": described((2,), [("\x1b[31m", "|u1")], body),
        "records of records": described((2,), [("a", [("b", "|u1", (3,))])], body),
        "an archive of arrays": archive.getvalue(),
        "half of the clips": saved(CLIPS)[: len(body) // 2],
        "bytes behind the clips": saved(CLIPS) + b"x" * 100_000,
        "another order of axes": saved(np.asfortranarray(CLIPS)),
        "other clips than real": saved(CLIPS[:1]),
        "frames of one pixel": described((2, 4, 1, 1, 3), body=bytes(24)),
        **damaged(saved(CLIPS), cuts=1),
    }
    harmless = {"version 2", "version 3", "bytes behind the clips", "another order of axes"}
    for name, data in files.items():

        def prepare(box: Box, data: bytes = data) -> list[str]:
            box.write("a.npy", saved(CLIPS))
            box.write("b.npy", data)
            return ["evaluate", "--real", "a.npy", "--fake", "b.npy", "--metrics", "psnr"]

        codes = EITHER if name in harmless or "flipped" in name else REFUSED
        yield Attempt("npy", name, prepare, codes)
    shapes = {
        "a frame of 120 GB": (1, 2, 200_000, 200_000, 3),
        "a clip of 100 GB": (1, 33_000, 1000, 1000, 3),
        "10^9 clips of a pixel": (10**9, 2, 1, 1, 3),
    }
    for name, large in shapes.items():

        def sparse(box: Box, large: tuple[int, ...] = large) -> list[str]:
            header = described(large)
            path = box.write("a.npy", header)
            os.truncate(path, len(header) + int(np.prod(large, dtype=np.int64)))
            return ["evaluate", "--real", "a.npy", "--fake", "a.npy", "--metrics", "psnr"]

        yield Attempt("npy", name, sparse)
    for name, file in (("control characters in its name", f"{CONTROL}.npy"),
                       ("a bidirectional mark in its name", f"{BIDI}.npy"),
                       ("a line break in its name", "a\nlamd: done.npy"),
                       ("a name that is no text", b"\xff.npy")):  # fmt: skip

        def named(box: Box, file: str | bytes = file) -> list[str]:
            path = box.write(file, b"x")
            return ["evaluate", "--real", path.name, "--fake", path.name, "--metrics", "psnr"]

        yield Attempt("npy", name, named)


# videos


@cache
def encoded(container: str, codec: str, shape: tuple[int, int, int] = (4, 32, 32)) -> bytes:
    """Return a video of a moving square."""
    stream = io.BytesIO()
    num_frames, height, width = shape
    with av.open(stream, "w", format=container) as out:
        video = out.add_stream(codec, rate=8)
        video.width, video.height = width, height
        video.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for i in range(num_frames):
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[i : i + 4, i : i + 4] = 255
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode())
    return stream.getvalue()


def box_of(kind: bytes, content: bytes = b"") -> bytes:
    """Return a box of an MP4."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def gif(screen: tuple[int, int], frames: int, size: tuple[int, int] = (1, 1)) -> bytes:
    """Return a GIF of black frames at the corner of a screen."""
    head = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + bytes(6)
    frame = b"," + struct.pack("<HHHH", 0, 0, *size) + b"\0\x02\x02\x44\x01\0"
    return head + frame * frames + b";"


def _patched(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(mark) + offset
    return data[:at] + value + data[at + len(value) :]


def videos() -> Iterator[Attempt]:
    """Yield folders of videos that `lamd evaluate` reads, and CATER's that `data verify` reads."""
    mp4, avi, mkv = encoded("mp4", "mpeg4"), encoded("avi", "mjpeg"), encoded("matroska", "mpeg4")
    nested = b""
    for _ in range(5000):
        nested = box_of(b"moov", nested)
    wide = struct.pack(">HH", 65535, 65535)
    sdp = b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s\n#EXT-X-ENDLIST\n"
    key = b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="../../outside/secret.txt"\n#EXTINF:1,\nx.ts\n'
    files: dict[str, bytes] = {
        "a.mp4 nothing": b"",
        "a.mp4 zeros": bytes(1_000_000),
        "a.mp4 text": b"not a video\n" * 1000,
        "a.mp4 noise": random.Random(0).randbytes(200_000),
        "a.mp4 a playlist of files": playlist % b"../../outside/secret.txt",
        "a.mp4 a playlist of a server": playlist % b"http://127.0.0.1:9/x.ts",
        "a.mp4 a playlist with a key": key,
        "a.mov a list of files": b"ffconcat version 1.0\nfile ../../outside/secret.txt\n",
        "a.mp4 a session": sdp,
        "a.mkv a manifest": b'<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1:9</BaseURL></MPD>',
        "a.mp4 a picture": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "a.mp4 entities": b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><MPD>&a;</MPD>",
        "a.mp4 a script": b"#!/bin/sh\ntouch ../outside/made\n",
        "a.mp4 only a type": box_of(b"ftyp", b"isom\0\0\2\0isom"),
        "a.mp4 boxes in boxes": box_of(b"ftyp", b"isom\0\0\2\0isom") + nested,
        "a.mp4 a box of 2^62 bytes": struct.pack(">I4sQ", 1, b"moov", 1 << 62) + mp4,
        "a.mp4 boxes of no size": struct.pack(">I4s", 0, b"free") * 1000,
        "a.mp4 2^32 samples": _patched(mp4, b"stsz", 12, b"\xff" * 4),
        "a.mp4 2^32 times": _patched(mp4, b"stts", 8, b"\xff" * 4),
        "a.mp4 2^32 chunks": _patched(mp4, b"stco", 8, b"\xff" * 4),
        "a.mp4 a chunk at 2^32": _patched(mp4, b"stco", 12, b"\xff" * 4),
        "a.mp4 a sample of 2^31 bytes": _patched(mp4, b"stsz", 16, b"\x7f\xff\xff\xff"),
        "a.mp4 a sample repeated 2^30 times": _patched(mp4, b"stts", 12, b"\x3f\xff\xff\xff"),
        "a.mp4 65,535 x 65,535 pixels": _patched(mp4, b"mp4v", 28, wide),
        "a.mp4 turned by an eighth": _patched(
            mp4, b"tkhd", 44, struct.pack(">iiiii", 46341, 46341, 0, -46341, 46341)),
        "a.mp4 a matrix of zeros": _patched(mp4, b"tkhd", 44, bytes(20)),
        "a.mp4 a file elsewhere": _patched(mp4, b"url ", 4, bytes(4)),
        "a.gif a screen of 65,535 x 65,535": gif((65535, 65535), 2),
        "a.gif 20,000 frames of 1,000 x 1,000": gif((1000, 1000), 20_000),
        "a.gif a million frames": gif((8, 8), 300_000),
        "a.gif a frame off the screen": gif((8, 8), 2, (65535, 65535)),
        "a.gif no frame": gif((8, 8), 0),
        "a.gif comments without end": gif((8, 8), 1)[:-1] + b"!\xfe" + b"\1x" * 500_000,
        "a.avi a length of 2^32": avi[:4] + b"\xff" * 4 + avi[8:],
        "a.avi 2^31 frames": _patched(avi, b"avih", 24, b"\xff\xff\xff\x7f"),
        "a.avi 30,000 x 30,000 pixels": _patched(
            avi, b"strf", 12, struct.pack("<II", 30000, 30000)),
        "a.avi lists in lists": avi[:12] + (b"LIST" + struct.pack("<I", 4) + b"hdrl") * 9999,
        "a.mkv an element of 2^56 bytes": mkv[:40] + b"\x18\x53\x80\x67\x01" + b"\xff" * 7,
        "a.mkv wrong lengths": mkv.replace(b"\x1f\x43\xb6\x75", b"\x1f\x43\xb6\x75\x01\xff"),
        "a.webm an MP3": b"ID3\3\0\0" + b"\x7f" * 4 + b"\xff\xfb\x90\0" * 1000,
        "a.mpg a pack header": b"\0\0\1\xba" * 10_000,
        "a.mp4 frames that differ from real": encoded("mp4", "mpeg4", (4, 48, 32)),
        "a.mp4 a subtitle": b"1\n00:00:00,000 --> 00:00:01,000\n\x1b[31m\n",
        **{f"a.mp4 {name}": data for name, data in damaged(mp4).items()},
        **{f"a.gif {name}": data for name, data in damaged(gif((8, 8), 4), cuts=0).items()},
    }  # fmt: skip
    harmless = (  # to a decoder that trusts the coded frames alone
        "flipped", "matrix", "elsewhere", "frames", "sample", "2^32", "65,535 x", "30,000 x",
    )  # fmt: skip
    for name, data in files.items():
        file, _, what = name.partition(" ")

        def prepare(box: Box, file: str = file, data: bytes = data) -> list[str]:
            box.write("real/a.mp4", mp4)
            box.write(f"fake/{file}", data)
            return ["evaluate", "--real", "real", "--fake", "fake", "--metrics", "psnr"]

        maybe = any(word in what for word in harmless)
        yield Attempt("videos", f"{file[2:]}: {what}", prepare, EITHER if maybe else REFUSED)
    names: dict[str, str | bytes] = {
        "control characters": f"{CONTROL}.mp4", "a bidirectional mark": f"{BIDI}.mp4",
        "a line break": "a\nlamd: done.mp4", "no text": b"\xff.mp4", "an option": "-i.mp4",
        "a protocol": "concat:a|b.mp4", "a pattern": "%d*?.mp4", "250 digits": "9" * 250 + ".mp4",
    }  # fmt: skip
    for name, file_name in names.items():

        def named(box: Box, file_name: str | bytes = file_name) -> list[str]:
            box.write("real/a.mp4", mp4)
            box.write(b"fake/" + os.fsencode(file_name), b"x" * 100)
            return ["evaluate", "--real", "real", "--fake", "fake", "--metrics", "psnr"]

        yield Attempt("videos", f"name: {name}", named)
    cater: dict[str, bytes] = {
        "a header alone": b"RIFF\4\0\0\0AVI ",
        "a playlist behind a header": b"RIFF\4\0\0\0" + playlist % b"/etc/passwd",
        "2^31 frames": files["a.avi 2^31 frames"],
        "30,000 x 30,000 pixels": files["a.avi 30,000 x 30,000 pixels"],
        "lists in lists": files["a.avi lists in lists"],
        "3,000 frames of 1,000 x 1,000": b"",
        **damaged(avi, flips=1, cuts=1),
    }
    for name, data in cater.items():

        def verify(box: Box, data: bytes = data) -> list[str]:
            data = data or encoded("avi", "mpeg4", (3000, 1000, 1000))
            entry = {"0": {"video": "videos/a.avi", "caption": "the cone is rotating."}}
            for split in ("train", "test"):
                box.write(f"data/cater_gen_v2/{split}_ambiguous.json", json.dumps(entry))
            box.write("data/cater_gen_v2/videos/a.avi", data)
            return ["data", "verify", "cater_v2", "--root", "data"]

        yield Attempt("videos", f"CATER: {name}", verify)


# pictures


def picture(form: str, size: tuple[int, int] = (16, 16), mode: str = "RGB", **options) -> bytes:
    """Return a picture of this format."""
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, form, **options)
    return stream.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of these chunks, checksums sound."""
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def ihdr(width: int, height: int, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    """Return the header of a PNG."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def zeros(size: int) -> bytes:
    """Return compressed zeros."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, packer.compress(bytes(size & 0xFFFFF)), packer.flush()])


def tiff(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """Return a TIFF whose directory has these entries: tag, type, count, value."""
    body = struct.pack("<H", len(entries) & 0xFFFF)
    body += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", following)


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n"
    b"(../outside/made) (w) file closefile\nshowpage\n%%EOF\n"
)


def pictures() -> Iterator[Attempt]:
    """Yield frames that `lamd evaluate`, `lamd generate` and `lamd data verify` read."""
    end, row = (b"IEND", b""), b"\0" + bytes(48)
    pixels = (b"IDAT", zlib.compress(row * 16))
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", f"{CONTROL}{BIDI}")
    exif = Image.Exif()
    exif[0x0112] = 99
    size = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    huge = [(256, 4, 1, 2**31 - 1), (257, 4, 1, 2**31 - 1), *size[2:], (273, 4, 1, 8)]
    jpeg = picture("JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    frames = [Image.new("RGB", (16, 16), (i % 256, 0, 0)) for i in range(2)]
    files: dict[str, bytes] = {
        "png an EPS": EPS, "jpg an EPS": EPS, "tif an EPS": EPS,
        "png a PDF": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n",
        "png a page of HTML": b"<html><script>alert(1)</script>",
        "png a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "png a metafile": b"\xd7\xcd\xc6\x9a\0\0" + bytes(16) + b"\1\0\t\0" + bytes(100),
        "png a sky survey": b"SIMPLE  =                    T" + b" " * 5000,
        "png a JPEG": jpeg, "bmp a JPEG": jpeg, "png a GIF": picture("GIF"),
        "png a WebP": picture("WEBP"), "jpg a PNG": picture("PNG"), "png an icon": picture("ICO"),
        "jpg JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "png nothing": b"", "png its first bytes": b"\x89PNG\r\n\x1a\n", "png text": b"P1\n" * 100,
        "png no pixels": png(ihdr(16, 16), end), "png no end": png(ihdr(16, 16), pixels),
        "png 50,000 x 50,000 pixels": png(ihdr(50_000, 50_000), (b"IDAT", zeros(1 << 20)), end),
        "png 2^31 x 2^31 pixels": png(ihdr(2**31 - 1, 2**31 - 1), pixels, end),
        "png no width": png(ihdr(0, 16), pixels, end),
        "png 13,000 x 13,000 pixels": png(
            ihdr(13_000, 13_000, 1, 0), (b"IDAT", zeros(1626 * 13_000)), end),
        "png 9,000 x 9,000 pixels": png(
            ihdr(9000, 9000, 1, 0), (b"IDAT", zeros(1126 * 9000)), end),
        "png text of 500 MB": png(
            ihdr(16, 16), (b"zTXt", b"a\0\0" + zeros(500 << 20)), pixels, end),
        "png a profile of 500 MB": png(
            ihdr(16, 16), (b"iCCP", b"a\0\0" + zeros(500 << 20)), pixels, end),
        "png 100,000 chunks": png(ihdr(16, 16), *[(b"tEXt", b"a\0b")] * 100_000, pixels, end),
        "png a chunk of 2^31 bytes": png(ihdr(16, 16))[:33] + b"\x7f\xff\xff\xffIDAT",
        "png a chunk of control characters": png(ihdr(16, 16))[:33] + b"\0\0\0\1\x1b[3m1234",
        "png a palette without colours": png(ihdr(16, 16, 8, 3), pixels, end),
        "png 16 bits": picture("PNG", mode="I;16"), "png transparent": picture("PNG", mode="RGBA"),
        "png an animation": picture("PNG", save_all=True, append_images=frames),
        "png text of control characters": picture("PNG", pnginfo=text),
        "png another size": picture("PNG", (8, 8)),
        "jpg 65,535 x 65,535 pixels": jpeg[:at] + b"\xff" * 4 + jpeg[at + 4 :],
        "jpg 2,000 scans": _scans(picture("JPEG", (1024, 1024), progressive=True)),
        "jpg an orientation of 99": picture("JPEG", exif=exif),
        "jpg broken EXIF": jpeg[:2] + b"\xff\xe1\0\x10Exif\0\0II*\0\xff\xff\xff\xff" + jpeg[2:],
        "jpg four inks": picture("JPEG", mode="CMYK"),
        "jpg a comment of control characters": picture("JPEG", comment=CONTROL),
        "tif 2^31 x 2^31 pixels": tiff(huge), "tif a circle of directories": tiff(size, 8),
        "tif values past the end": tiff([*size, (273, 4, 2**31, 2**31), (279, 4, 2**31, 9)]),
        "tif 65,535 entries": tiff([(i, 3, 1, 1) for i in range(65535)]),
        "tif 32 bits": picture("TIFF", mode="F"), "tif two pages": picture(
            "TIFF", save_all=True, append_images=frames),
        "bmp 60,000 x 60,000 pixels": picture("BMP")[:18] + struct.pack("<ii", 60_000, 60_000)
        + picture("BMP")[26:],
        "bmp a negative width": picture("BMP")[:18] + struct.pack("<ii", -16, 16) + bytes(900),
        "ppm 10^9 x 10^9 pixels": b"P6 999999999 999999999 255\n",
        "ppm a comment of 20 MB": b"P6\n#" + b"x" * 20_000_000 + b"\n16 16 255\n" + bytes(768),
        "ppm a width of 10,000 digits": b"P6 " + DIGITS.encode() + b" 16 255\n",
        "ppm control characters": b"P6 \x1b[31m 16 255\n", "ppm 16 bits": b"P6 16 16 65535\n",
        "webp 16,384 x 16,384 pixels": b"RIFF\x1e\0\0\0WEBPVP8X\n\0\0\0\2\0\0\0"
        + b"\xff\x3f\0" * 2,
        "webp an animation": picture("WEBP", save_all=True, append_images=frames),
        **{f"png {name}": data for name, data in damaged(picture("PNG")).items()},
        **{f"jpg {name}": data for name, data in damaged(jpeg).items()},
    }  # fmt: skip
    harmless = ("flipped", "animation", "orientation", "EXIF", "of control characters", "two pages",
                "four inks", "100,000 chunks", "no end", "parts", "500 MB", "comment of 20 MB",
                "65,535 entries", "scans", "16 bits", "palette")  # fmt: skip
    for name, data in files.items():
        suffix, _, what = name.partition(" ")

        def prepare(box: Box, suffix: str = suffix, data: bytes = data) -> list[str]:
            for i in range(2):
                box.write(f"real/a/{i}.png", picture("PNG"))
                box.write(f"fake/a/{i}.{suffix}", data if i else picture("PNG"))
            return ["evaluate", "--real", "real", "--fake", "fake", "--metrics", "psnr"]

        first = EITHER if any(word in name for word in harmless) else REFUSED
        yield Attempt("pictures", f"{suffix}: {what}", prepare, first)
    names: dict[str, str | bytes] = {
        "control characters": f"{CONTROL}.png", "a bidirectional mark": f"{BIDI}.png",
        "a line break": "a\nlamd: done.png", "no text": b"\xff.png",
        "250 digits": "9" * 250 + ".png",
    }  # fmt: skip
    for name, file_name in names.items():

        def named(box: Box, file_name: str | bytes = file_name) -> list[str]:
            box.write("real/a/0.png", picture("PNG"))
            box.write(b"fake/a/" + os.fsencode(file_name), b"x")
            return ["evaluate", "--real", "real", "--fake", "fake", "--metrics", "psnr"]

        yield Attempt("pictures", f"name: {name}", named)
    for name in ("png an EPS", "png 13,000 x 13,000 pixels", "png text of 500 MB", "png nothing",
                 "png a JPEG", "png a page of HTML"):  # fmt: skip

        def first_frame(box: Box, data: bytes = files[name]) -> list[str]:
            box.copy("runs", "tiny.yaml")
            box.write("frames/a.png", data)
            return ["generate", "./tiny.yaml", "--frames", "frames", "--out", "x.npy"]

        codes = EITHER if name in ("png a JPEG", "png text of 500 MB") else REFUSED
        yield Attempt("pictures", f"generate: {name[4:]}", first_frame, codes)
    for name in ("jpg an EPS", "jpg 65,535 x 65,535 pixels", "jpg 2,000 scans", "jpg a PNG",
                 "png 13,000 x 13,000 pixels"):  # fmt: skip
        sets = [("landscape", "sky_{}/a/a_1/{}.jpg")]
        if name.startswith("png"):
            sets = [("natops", "natops/g01s{}p01/g01s03p01-000{}-0001.png")]
        for dataset, pattern in sets:

            def verify(
                box: Box, data: bytes = files[name], dataset: str = dataset, pattern: str = pattern
            ) -> list[str]:
                parts = ("train", "test") if dataset == "landscape" else ("03", "02")
                for split in parts:
                    for i in range(2):
                        box.write("data/" + pattern.format(split, i), data)
                return ["data", "verify", dataset, "--root", "data"]

            yield Attempt("pictures", f"{dataset}: {name[4:]}", verify)


def _scans(data: bytes) -> bytes:
    """Return a progressive JPEG with its last scan repeated 2,000 times."""
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * 2000 + data[-2:]


def data_attempts() -> Iterator[Attempt]:
    """Yield all of this file."""
    for attempts in (tfrecords, arrays, videos, pictures):
        yield from attempts()
