"""Files and folders: safe names, inputs that are files, outputs that are complete or absent.

What is written appears by renaming. Below a folder that the user names (runs, results, cache) no
link is followed: in a shared one, others may have put it there.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_origin

from lamd.base.errors import LamdError

if TYPE_CHECKING:
    from pydantic import ValidationError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_END = 2**22  # bytes at each end of a large file that stand for it
T = TypeVar("T")
# Of JSON, above what a sweep of 1000 points needs; parsing and its errors then stay below 1 GiB.
_MOST_BYTES, _MOST_KEYS, _MOST_ENTRIES = 32 << 20, 800_000, 2_000_000

_SYSTEM_FILES = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin",
    "system volume information", "lost+found",
}  # fmt: skip
_NAME = re.compile(r"\w[\w.+-]*")
_LONGEST_NAME = 100  # bytes; file systems take 255, suffixes included
_KINDS = {
    stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip


def is_full(error: BaseException) -> bool:
    """Return whether a write failed for lack of room; libraries say it in their own ways."""
    text = str(error)
    return (
        getattr(error, "errno", None) in NO_ROOM
        or any(os.strerror(code) in text for code in NO_ROOM)  # safetensors
        or (isinstance(error, OSError) and text.endswith(" written"))  # NumPy
        or "unexpected pos" in text  # PyTorch, on closing the file
    )


def check_name(name: str) -> str:
    """Return `name`, which becomes part of a path; ValueError unless it can be one."""
    if not _NAME.fullmatch(name) or len(name.encode()) > _LONGEST_NAME:
        raise ValueError(
            f"{name[:_LONGEST_NAME]!r} cannot name a file or folder; use up to {_LONGEST_NAME} "
            "letters, digits, `.`, `_`, `+` and `-`, first a letter or digit"
        )
    return name


def below(root: Path, *names: str) -> Path:
    """Return `root/names...`; LamdError where a name leaves `root` or is a link; `root` may be."""
    path = root
    for name in names:
        try:
            path = refuse_link(path / check_name(name))
        except ValueError as error:
            raise LamdError(f"{path}: {error}") from None
    return path


def refuse_link(path: Path) -> Path:
    """Return `path`; LamdError where it is a link."""
    if path.is_symlink():
        raise LamdError(f"{path}: a link, which is not followed here; delete it")
    return path


def check_own(folder: Path) -> None:
    """Raise LamdError unless `folder` and all in it are this user's folders and files, no links."""
    owners = {os.geteuid()}
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as probe:
        owners.add(os.fstat(probe.fileno()).st_uid)  # of all files, on some network shares
    inside = (Path(top, name) for top, *names in os.walk(folder) for name in chain(*names))
    for path in chain([folder], inside):
        with suppress(FileNotFoundError):  # temporary, of another process of the launch
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            if kind != stat.S_IFDIR and (kind != stat.S_IFREG or path == folder):
                raise LamdError(f"{path}: {_KINDS[kind]}; delete {folder}")
            if status.st_uid not in owners:
                raise LamdError(f"{path}: belongs to another user; delete {folder}")


def make_private(folder: Path) -> Path:
    """Return `folder`, made if missing with mode 0700; LamdError unless it is this user's alone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise LamdError(f"{folder}: not a folder of yours with mode 0700; delete it")
    return folder


def open_unlinked(path: str, flags: int) -> int:
    """Open a file, as an `opener` of `open`, that is no link; OSError where it is one."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def user_path(path: Path | str) -> Path:
    """Return a path that the user gave, absolute, `~` and `~name` expanded; or LamdError."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise LamdError(f"{path}: no such user; give the whole path") from None


def free_disk(path: Path) -> tuple[int, Path]:
    """Return the free bytes of a path's disk, and the nearest folder that exists."""
    path = user_path(path)
    folder = next(existing for existing in (path, *path.parents) if existing.exists())
    return shutil.disk_usage(folder).free, folder


def input_file(path: Path) -> Path:
    """Return `path`, which is about to be read; LamdError on a FIFO, device, socket or folder.

    Reading these may wait for ever. A missing file is left to the reader.
    """
    with suppress(OSError):
        kind = stat.S_IFMT(path.stat().st_mode)
        if kind != stat.S_IFREG:
            raise LamdError(f"{path}: {_KINDS[kind]}, not a file; give a file")
    return path


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort `f2` before `f10`; equal numbers, such as `f01` and `f1`, by text."""
    parts: list[Any] = re.split(r"(\d{1,18})", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def clip_key(path: Path) -> tuple[Any, str]:
    """Return what clips are sorted by, files and folders alike: the name without a suffix."""
    name = path.name if path.is_dir() else path.stem
    return natural_key(unicodedata.normalize("NFC", name)), path.name  # macOS decomposes umlauts


def is_system_file(name: str) -> bool:
    """Say whether a file or folder is hidden, or one that an operating system leaves in folders."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def check_output(path: Path) -> None:
    """Raise LamdError unless `write_output` can write to `path`, whose folder is made."""
    if path.is_dir():
        raise LamdError(f"{path}: is a folder; name a file in it")
    if path.is_fifo() or path.is_socket():
        raise LamdError(f"{path}: is a FIFO or socket; name a file")
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():  # a device
            os.close(os.open(target, os.O_WRONLY))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            _temporary(target).unlink()
    except OSError as error:
        raise LamdError(f"{path}: cannot be written ({error.strerror}); choose another") from None


def check_folder(path: Path) -> None:
    """Raise LamdError unless `path`, or the folder that it would be made in, can be written to."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        reason = "cannot be written to" if existing.is_dir() else "not a folder"
        raise LamdError(f"{existing}: {reason}; choose another folder than {path}")


def _temporary(path: Path) -> Path:
    """Make an empty file in the folder of `path`, to be renamed to it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    return Path(name)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path`, whose folder is made where it is missing; a link is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    replace_file(path, lambda temporary: temporary.write_bytes(data))


def write_output(path: Path, content: str | bytes) -> None:
    """Write `content` to a file that the user named, for which `check_output`.

    A link is followed, and a device, such as `/dev/null`, is written to.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    else:
        write_atomically(path, content)


def dump_json(path: Path, value: object, indent: int | None = 1) -> None:
    """Write `value` as JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=indent) + "\n")


def readable_json(value: object) -> str:
    """Return JSON with letters of all scripts as they are; what is not printable is escaped."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n"


def load_json(path: Path, kind: type[T], fix: str) -> T:
    """Read a JSON file as `kind`, `list[str]` or a model; LamdError, ending in `fix`."""
    return parse_json(read_file(path, fix), kind, path, fix)


def read_file(path: Path, fix: str, most: int = _MOST_BYTES) -> bytes:
    """Read a file of at most `most` bytes; LamdError, ending in `fix`, of anything else."""
    try:
        with input_file(path).open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise LamdError(f"{path}: {error.strerror}; {fix}") from None
    if len(data) > most:
        raise LamdError(f"{path}: more than {most:,} bytes; {fix}")
    return data


def parse_json(data: bytes | str, kind: type[T], where: object, fix: str) -> T:
    """Return JSON as `kind`; `where` names it in the error.

    LamdError when it is not JSON in UTF-8, is nested 200 deep, has more than 800,000 keys or lists,
    2,000,000 entries or 4,300 digits of a number, or is not of that kind.
    """
    from pydantic import FailFast, TypeAdapter, ValidationError  # `lamd --help` goes without

    data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    if max(map(data.count, (b":", b"[", b"{"))) > _MOST_KEYS:
        raise LamdError(f"{where}: more than {_MOST_KEYS:,} keys or lists; {fix}")
    if data.count(b",") > _MOST_ENTRIES:
        raise LamdError(f"{where}: more than {_MOST_ENTRIES:,} entries; {fix}")
    first: Any = Annotated[kind, FailFast()] if get_origin(kind) is list else kind
    try:
        return TypeAdapter(first).validate_json(data.removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise LamdError(f"{where}: {first_problem(error)}; {fix}") from None


def first_problem(error: "ValidationError") -> str:
    """Return e.g. `values.0.row: Field required`, at most 200 characters."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(str(part)[:40] for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return " ".join(f"{key}: {reason}".removeprefix(": ").split())[:200]


def replace_file(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary file, `.<name>.*.tmp`, and rename it to `path`."""
    temporary = _temporary(path)
    try:
        fill(temporary)
        temporary.chmod(0o644)
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def delete_folder(path: Path) -> None:
    """Delete a folder at once: killed meanwhile, all of it is there or nothing."""
    leftover = path.with_name(f".deleted_{path.name}")
    shutil.rmtree(leftover, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.replace(path, leftover)
    shutil.rmtree(leftover, ignore_errors=True)


def replace_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write files into a temporary folder, `.tmp_<name>`, and rename it to `path`."""
    temporary = path.with_name(f".tmp_{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        for file in sorted(temporary.iterdir()):
            sync(file)
        sync(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    os.rename(temporary, path)
    sync(path.parent)


def fingerprint(path: Path) -> str:
    """Return size and SHA-256 of a file, of one above 8 MiB of its first and last 4 MiB alone."""
    size = path.stat().st_size
    with path.open("rb") as file:
        data = file.read(size if size <= 2 * _END else _END)
        if size > 2 * _END:
            file.seek(-_END, os.SEEK_END)
            data += file.read(_END)
    return f"{size}:{hashlib.sha256(data).hexdigest()}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with input_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
