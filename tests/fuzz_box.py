"""Hostile inputs, and the box in which the command line reads them.

A forked child runs `lamd ARGUMENTS` in a folder of its own. It may write only there, start no
program but `git` (which says the commit of a record), and has a limit for time, CPU and memory.
"""

import errno
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

WALL, CPU = 30, 20  # seconds
MEMORY = 1 << 30  # bytes above those of the parent
_CEILING = 3 << 30  # bytes of address space for data, so that the machine stays usable
_LONGEST = 2000  # characters of an error that is still a line to read
SECRET = "SENTINEL-b41d"
REFUSED, READ = frozenset({2}), frozenset({0})
EITHER = REFUSED | READ  # harmless: read as what it is, or refused

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PROGRAMS = {
    "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.spawn",
    "socket.connect", "socket.getaddrinfo", "socket.sendto",
}  # fmt: skip
_PATHS = {  # event -> positions of a path and its folder's descriptor
    "os.mkdir": ((0, 2),), "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),), "os.utime": ((0, 3),), "os.truncate": ((0, None),),
    "os.symlink": ((1, 2),), "os.link": ((0, 2), (1, 3)), "os.rename": ((0, 2), (1, 3)),
}  # fmt: skip


@dataclass(frozen=True)
class Box:
    """A folder to run in (`work`, the current one), and what may not be touched (`outside`)."""

    root: Path
    template: Path  # a finished run: `runs`, `results`, `tiny.yaml`, and data in real layout

    @property
    def work(self) -> Path:
        """The current folder of the command."""
        return self.root / "work"

    @property
    def outside(self) -> Path:
        """A folder of someone else."""
        return self.root / "outside"

    def write(self, name: str | bytes, content: str | bytes = b"") -> Path:
        """Write a file below `work`, whose folder is made."""
        path = self.work / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def copy(self, *names: str) -> None:
        """Copy files or folders of the template into `work`."""
        for name in names:
            source = self.template / name
            copied = shutil.copytree if source.is_dir() else shutil.copy
            copied(source, self.work / name)

    def cell(self, kind: str, row: str = "") -> Path:
        """Return the folder of the copied cell of this kind and row."""
        wanted = f"{kind} {row}".strip()
        for path in sorted((self.work / "runs" / "cells").glob(f"{kind}-*/cell.json")):
            if json.loads(path.read_text())["info"]["name"] == wanted:
                return path.parent
        raise LookupError(wanted)


Prepare = Callable[[Box], Sequence[str]]  # writes the input and returns the command's arguments
Check = Callable[[Box, str], str | None]  # of box and stdout: what is wrong


@dataclass(frozen=True)
class Attempt:
    """One input: the exit codes that are right, and what else is looked at."""

    kind: str
    name: str
    prepare: Prepare
    codes: frozenset[int] = REFUSED
    environment: Mapping[str, str] = field(default_factory=dict)
    check: Check | None = None


class Outcome(NamedTuple):
    """What an attempt came to; it is as wanted where there are no `problems`."""

    kind: str
    name: str
    problems: list[str]
    code: int
    seconds: float
    peak_mb: float
    line: str  # the last of stderr, printable


def try_out(attempt: Attempt, root: Path, template: Path) -> Outcome:
    """Run an attempt in the folder `root`, which is made and deleted."""
    box = Box(root, template)
    for folder in (box.work, root / "tmp", box.outside / "folder"):
        folder.mkdir(parents=True)
    for name in ("secret.txt", "folder/keep.txt"):
        (box.outside / name).write_text(f"{SECRET}: 1\n")
    try:
        arguments = [*attempt.prepare(box)]
        before, started = _snapshot(box.outside), time.monotonic()
        status, usage = _run(box, arguments, attempt.environment)
        seconds = time.monotonic() - started
        peak = usage.ru_maxrss * 1024 - int((root / "resident").read_text())
        problems = [*_problems(attempt, box, status, peak)]
        if _snapshot(box.outside) != before:
            problems.append("changed a file outside")
        lines = (root / "stderr").read_text(errors="replace").splitlines()
        code = os.waitstatus_to_exitcode(status)
        line = ascii(lines[-1])[1:-1][:300] if lines else ""
        return Outcome(attempt.kind, attempt.name, problems, code, seconds, peak / 2**20, line)
    finally:
        for path, _, _ in os.walk(root):
            with suppress(OSError):
                os.chmod(path, 0o700)
        shutil.rmtree(root)


def _problems(attempt: Attempt, box: Box, status: int, peak: int) -> list[str]:
    problems = []
    code = os.waitstatus_to_exitcode(status)
    stdout, stderr = ((box.root / name).read_bytes() for name in ("stdout", "stderr"))
    if code < 0:
        reason = {signal.SIGALRM: f"over {WALL} s", signal.SIGXCPU: f"over {CPU} s of CPU"}
        problems.append(reason.get(signal.Signals(-code), f"ended by {signal.Signals(-code).name}"))
    elif code not in attempt.codes:
        problems.append(f"exit {code}, not {' or '.join(map(str, sorted(attempt.codes)))}")
    if b"Traceback (most recent" in stderr:
        problems.append("traceback")
    for name, output in (("stdout", stdout), ("stderr", stderr)):
        try:
            lines = output.decode().split("\n")
        except UnicodeDecodeError:
            problems.append(f"{name} is not UTF-8")
            continue
        if odd := sorted({c for line in lines for c in line if not c.isprintable()}):
            problems.append(f"{name} holds {' '.join(ascii(c)[1:-1] for c in odd[:4])}")
        if SECRET.encode() in output:
            problems.append(f"{name} shows a file from outside")
    last = stderr.decode(errors="replace").rstrip("\n").rpartition("\n")[2]
    if code == 2 and not last.startswith(("lamd: ", "Error: ")):  # the second of click
        problems.append("no error line at the end")
    if len(last) > _LONGEST:
        problems.append(f"an error line of {len(last)} characters")
    if peak > MEMORY:
        problems.append(f"{peak / MEMORY:.1f} GiB")
    problems += (box.root / "violations").read_text().splitlines()[:2]
    if attempt.check and code in attempt.codes:
        problems += filter(None, [attempt.check(box, stdout.decode(errors="replace"))])
    return problems


def _snapshot(folder: Path) -> dict[str, tuple]:
    def state(path: Path) -> tuple:
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        return stat.st_mode, stat.st_mtime_ns, content

    return {str(path): state(path) for path in (folder, *folder.rglob("*"))}


def _run(
    box: Box, arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, resource.struct_rusage]:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        _, status, usage = os.wait4(child, 0)
        return status, usage
    code = 1
    try:
        _confine(box, environment)
        code = _main(arguments)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _main(arguments: Sequence[str]) -> int:
    from lamd import cli

    try:
        cli.main([*arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


def _confine(box: Box, environment: Mapping[str, str]) -> None:
    violations = os.open(box.root / "violations", os.O_WRONLY | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(box.root / name, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace",
        write_through=True,
    )  # fmt: skip
    os.chdir(box.work)
    os.environ.clear()
    temporary = str(box.root / "tmp")
    os.environ.update(
        PATH=os.defpath, HOME=str(box.work / "home"), TMPDIR=temporary, LAMD_CACHE="cache",
        MPLCONFIGDIR=temporary, LANG="C.UTF-8",
    )  # fmt: skip
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    pages = map(int, Path("/proc/self/statm").read_text().split())
    _, resident, _, _, _, data, _ = (number * resource.getpagesize() for number in pages)
    (box.root / "resident").write_text(str(resident))
    for limit, value in (
        (resource.RLIMIT_CPU, CPU), (resource.RLIMIT_DATA, data + _CEILING),
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, MEMORY),
    ):  # fmt: skip
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    signal.setitimer(signal.ITIMER_REAL, WALL)
    allowed = [os.path.realpath(folder) for folder in (box.work, temporary)]

    def refuse(what: str) -> None:
        os.write(violations, ascii(what)[1:-1][:200].encode() + b"\n")
        raise PermissionError(errno.EACCES, "not in the box", what)

    def path_of(path: Any, folder: Any) -> str | None:
        if isinstance(path, int) or path is None:
            return None
        path = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        return path

    def check(event: str, path: str) -> None:
        if path in (os.devnull, "/dev/full", "/dev/stdout", "/dev/stderr"):
            return
        if not any(path == home or path.startswith(f"{home}/") for home in allowed):
            refuse(f"{event} {os.path.relpath(path, box.root)}")

    def audit(event: str, values: tuple) -> None:
        if event == "open":
            path, mode, flags = values
            path = path_of(path, None)
            refused = (flags or 0) & os.O_NOFOLLOW and path is not None and os.path.islink(path)
            writes = set(mode or "") & set("wax+") or (flags or 0) & _WRITES
            if path is not None and writes and not refused:
                check("writes", os.path.realpath(path))
        elif event in _PATHS:
            for position, folder in _PATHS[event]:
                path = path_of(values[position], None if folder is None else values[folder])
                if path is not None and not (event == "os.mkdir" and os.path.lexists(path)):
                    # a last link is itself what is changed
                    parent, name = os.path.split(os.path.abspath(path))
                    check(event, os.path.join(os.path.realpath(parent), name))
        elif event == "subprocess.Popen" and [*values[1]][:2] != ["git", "--no-optional-locks"]:
            refuse(f"starts {values[1]}")
        elif event in _PROGRAMS:
            refuse(f"{event} {values[:1]}")

    sys.addaudithook(audit)
