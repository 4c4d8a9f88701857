"""`reproduce.sh`: the environment that it makes or finds, what it installs, its exit codes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import cpu_seconds_of_children

ROOT = Path(__file__).resolve().parents[1]
# Stands in for Python: logs how it is called, makes environments with itself in them.
PYTHON = r"""#!/bin/sh
echo "$*" >>"$LOG"
case "$1 $2" in
    --version*) echo "Python $VERSION" ;;
    "-m venv")
        [ "$3" = --clear ] && { shift; rm -rf "$3"; }
        mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/pip" ;;
    "-m pip")
        [ "$3" = install ] && [ -n "$NO_NETWORK" ] || exit 0
        echo "ERROR: no matching distribution at https://me:secret@example.org/simple" && exit 1 ;;
esac
"""


INSTALLED = (Path(sys.prefix) / ".lamd-installed-test").is_file()


@pytest.mark.skipif(not INSTALLED, reason="this environment was not made by ./reproduce.sh test")
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("list",), 0, "table_bair"),
        ((), 2, "./reproduce.sh TARGET"),
        (("--help",), 0, "./reproduce.sh TARGET"),
        (("nosuch",), 2, "lamd: nosuch: no such target"),
        (("test", "--co", "-q", "-n", "0", "tests/test_layers.py"), 0, "test_layers.py"),
    ],
)
def test_reproduce_sh_works_anywhere_and_keeps_exit_codes(tmp_path, arguments, code, text):
    def start_script() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(ROOT / "reproduce.sh"), *arguments],
            cwd=tmp_path,
            env=os.environ | {"VIRTUAL_ENV": sys.prefix},
            capture_output=True,
            text=True,
        )

    if arguments == ("list",):
        start_script()  # the first start in an environment installs
    start = cpu_seconds_of_children()
    done = start_script()
    assert done.returncode == code
    assert text in done.stdout + done.stderr
    if arguments == ("list",):
        assert cpu_seconds_of_children() - start < 2


def test_reproduce_sh_names_an_environment_without_pip(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    done = subprocess.run(
        [str(ROOT / "reproduce.sh"), "list"],
        env=os.environ | {"VIRTUAL_ENV": str(tmp_path / "bare")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path / 'bare'} has no pip; run " in done.stderr


class Clone:
    """A folder with the script in it, and Python's stand-in on the path."""

    def __init__(self, folder: Path):
        self.folder, self.environment = folder / "a b", folder / "a b" / ".venv"
        self.folder.mkdir()
        for name in ("reproduce.sh", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        (folder / "bin").mkdir()
        (folder / "bin" / "python3").write_text(PYTHON)
        (folder / "bin" / "python3").chmod(0o755)
        self.log = folder / "log"
        self.variables = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "LOG": str(self.log)}

    def run(self, *arguments: str, version: str = "3.11.7", code: int = 0, **variables: str) -> str:
        """Return what it writes to stderr; `calls` then has those of Python."""
        self.log.write_text("")
        done = subprocess.run(
            [self.folder / "reproduce.sh", *arguments],
            env=self.variables | {"VERSION": version} | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        self.calls = self.log.read_text().splitlines()
        return done.stderr

    def installs(self, *arguments: str, **options: str) -> bool:
        self.run(*arguments, **options)
        return any(call.startswith("-m pip install") for call in self.calls)


@pytest.fixture
def clone(tmp_path) -> Clone:
    return Clone(tmp_path)


def test_a_fresh_clone_gets_an_environment_and_installs_once(clone):
    clone.run("table_bair", "--profile", "quick")
    assert f"-m venv --clear {clone.environment}" in clone.calls
    (installed,) = (call for call in clone.calls if call.startswith("-m pip install"))
    assert installed.endswith(f"-e {clone.folder}")
    assert clone.calls[-1] == "-m lamd reproduce table_bair --profile quick"
    assert not clone.installs("list")
    assert not any("venv" in call for call in clone.calls)
    clone.run("test", "-k", "x")
    assert any(call.endswith(f"-e {clone.folder}[test]") for call in clone.calls)
    assert clone.calls[-1].startswith("-m pytest ") and clone.calls[-1].endswith(" -k x")
    assert not clone.installs("list")  # the tests' packages include all others


def test_another_python_or_pyproject_installs_again(clone):
    assert clone.installs("list")
    assert clone.installs("list", version="3.12.1")
    assert not clone.installs("list", version="3.12.1")
    with (clone.folder / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert clone.installs("list", version="3.12.1")


@pytest.mark.parametrize("broken", ["python", "pip"])
def test_a_broken_environment_is_repaired(clone, broken):
    clone.run("list")
    (clone.environment / "bin" / broken).unlink()
    (clone.environment / "bin" / broken).symlink_to("/nowhere/python")  # an upgrade removed it
    (clone.environment / "packages").touch()
    if broken == "pip":  # the stand-in copies itself, as ensurepip would
        (clone.environment / "bin" / broken).unlink()
    clone.run("list")
    # what is installed in it is kept where its Python works
    assert (clone.environment / "packages").exists() == (broken == "pip")
    assert clone.calls[-1] == "-m lamd list"


def test_a_failed_installation_hides_the_address_and_is_tried_again(clone):
    said = clone.run("list", code=1, NO_NETWORK="1")
    assert "ERROR: no matching distribution at <address>" in said and "secret" not in said
    assert f"start again (log: {clone.environment}/lamd-install.log)" in said
    assert clone.installs("list")


def test_an_active_environment_is_used(clone, tmp_path):
    for name in ("venv", "conda"):
        (tmp_path / name / "bin").mkdir(parents=True)
        shutil.copy(tmp_path / "bin" / "python3", tmp_path / name / "bin" / "python")
    venv, conda = str(tmp_path / "venv"), str(tmp_path / "conda")
    assert f"into {venv} (" in clone.run("list", VIRTUAL_ENV=venv, CONDA_PREFIX=conda)
    active = {"CONDA_PREFIX": conda, "CONDA_DEFAULT_ENV": "video"}
    assert f"into {conda} (" in clone.run("list", **active)
    assert not clone.environment.exists()
    base = active | {"CONDA_DEFAULT_ENV": "base"}
    assert f"into {clone.environment} (" in clone.run("list", **base)
