"""A Slurm cluster of one node on this machine: munged, slurmctld and slurmd."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")


def why_not() -> str | None:
    """Return why no cluster can be started here, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: munge slurmctld slurmd slurm-client)"
    return None if os.geteuid() == 0 else "slurmd needs root"


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[None]:
    """Start a cluster below `folder`, name it in SLURM_CONF, and end it."""
    folder.chmod(0o700)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "slurm.conf").write_text(_config(folder), encoding="utf-8")
    before = dict(os.environ)
    os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    files = {"key-file": key, **{f"{name}-file": folder / f"munge.{name}" for name in
             ("pid", "log", "seed")}, "socket": folder / "munge.socket"}  # fmt: skip
    munged = ["munged", "--force", "--foreground", *(f"--{a}={b}" for a, b in files.items())]
    daemons = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            daemons.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            time.sleep(1)
        _wait_for_idle()
        yield
    finally:
        subprocess.run(["scancel", "--me"], check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()
        os.environ.clear()
        os.environ |= before


def _wait_for_idle() -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True,
                               text=True, check=False).stdout  # fmt: skip
        if state.strip() == "idle":
            return
        time.sleep(0.5)
    raise TimeoutError(f"the Slurm node is {state.strip() or 'not there'}")


def _config(folder: Path) -> str:
    host, (controller, node) = socket.gethostname().split(".")[0], _free_ports(2)
    return f"""ClusterName=lamd
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _free_ports(count: int) -> list[int]:
    opened = [socket.socket() for _ in range(count)]
    for opened_socket in opened:
        opened_socket.bind(("127.0.0.1", 0))
    ports = [opened_socket.getsockname()[1] for opened_socket in opened]
    for opened_socket in opened:
        opened_socket.close()
    return ports


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
