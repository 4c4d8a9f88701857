"""The inference path: a sample depends on its key, its first frame and the seed alone."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from small import small_dmg, small_vae, wake
from tiny import HERE, table_cells, tiny_target, train_both

from lamd import cli
from lamd import generate as generation
from lamd.base import origin
from lamd.base.errors import LamdError
from lamd.cli.generate import _image_paths
from lamd.config import SamplerConfig, config_hash, load_target
from lamd.data.dataset import DATASETS
from lamd.data.vocabulary import Vocabulary
from lamd.diffusion import make_schedule, schedule_of
from lamd.generate import compile_denoiser, generate, generate_clips, trajectory
from lamd.paradigms.latent_motion import LatentMotion
from lamd.paradigms.registry import PARADIGMS

SCHEDULE = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)


def setup(**changes):
    vae, dmg = small_vae().eval(), small_dmg().eval()
    wake(vae), wake(dmg)
    options = {"name": "ddim", "num_steps": 4, "eta": 1.0, "seed": 0}
    sampler = SamplerConfig(**(options | changes))
    x0 = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    # a latent of 4 x 4 suits the small DMG's two scales
    models = LatentMotion(vae, dmg, SCHEDULE)
    return lambda frames, keys: generate(models, sampler, frames, keys), x0


def test_a_sample_is_the_same_alone_in_a_batch_and_in_another_order():
    run, x0 = setup()
    keys = ["a", "b", "c", "d"]
    together = run(x0, keys)
    reverse = run(x0.flip(0), keys[::-1])
    assert torch.allclose(together, reverse.flip(0), atol=1e-4)
    alone = torch.cat([run(x0[i : i + 1], keys[i : i + 1]) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_key_seed_and_frame_each_matter():
    run, x0 = setup()
    base = run(x0[:1], ["a"])
    assert torch.equal(base, run(x0[:1], ["a"]))
    assert not torch.allclose(base, run(x0[:1], ["b"]), atol=1e-3)
    assert not torch.allclose(base, run(x0[1:2], ["a"]), atol=1e-3)
    other_seed, _ = setup(seed=1)
    assert not torch.allclose(base, other_seed(x0[:1], ["a"]), atol=1e-3)


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("ddpm", None), ("dpmpp_2m", None)])
def test_a_network_that_knows_the_data_is_sampled_to_them(monkeypatch, prediction, name, eta):
    schedule = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195, prediction)

    def oracle(z_t, t):  # the data are 0.7 everywhere
        abar = schedule.alpha_bar[t].reshape(-1, 1, 1, 1).float()
        eps = (z_t - abar.sqrt() * 0.7) / (1 - abar).sqrt()
        return eps if prediction == "eps" else abar.sqrt() * eps - (1 - abar).sqrt() * 0.7

    models = LatentMotion(small_vae().eval(), small_dmg().eval(), schedule)
    monkeypatch.setattr(models, "denoiser", lambda *_: oracle)
    sampler = SamplerConfig(name=name, num_steps=10, eta=eta, seed=0)
    given = models.encode(torch.zeros(2, 3, 16, 16))
    *_, (_, z) = trajectory(models, sampler, given, ["a", "b"])
    torch.testing.assert_close(z, torch.full_like(z, 0.7), atol=2e-3, rtol=0)


def test_the_schedule_of_a_target_has_its_prediction():
    assert schedule_of(load_target("table_bair", "quick").dmg).prediction == "v"
    assert schedule_of(load_target("table_bair", "paper").dmg).prediction == "eps"


def test_each_batch_of_clips_has_its_own_keys_and_prompts(monkeypatch):
    seen = []

    def record(_, sampler, x0, keys, prompts, **options):
        seen.append((list(keys), list(prompts)))
        return torch.zeros(len(x0), 2, 3, 8, 8)

    monkeypatch.setattr("lamd.generate.generate", record)
    models = SimpleNamespace(network=torch.nn.Linear(1, 1))
    frames = np.zeros((5, 8, 8, 3), np.uint8)
    generate_clips(models, None, frames, list("abcde"), list("ABCDE"), batch_size=2)
    assert seen == [(["a", "b"], ["A", "B"]), (["c", "d"], ["C", "D"]), (["e"], ["E"])]


def test_a_clamp_bounds_the_latent_and_leaves_smaller_ones_alone():
    def latent(clamp):
        vae, dmg = small_vae().eval(), small_dmg().eval()
        wake(vae), wake(dmg)
        sampler = SamplerConfig(name="ddim", num_steps=4, eta=0.0, seed=0, clamp=clamp)
        models = LatentMotion(vae, dmg, SCHEDULE)
        given = models.encode(torch.zeros(2, 3, 16, 16))
        return [z for _, z in trajectory(models, sampler, given, ["a", "b"])][-1]

    free = latent(None)
    bound = free.abs().max().item() / 2
    assert latent(bound).abs().max().item() == pytest.approx(bound)
    torch.testing.assert_close(latent(1e3), free)


def test_condition_is_encoded_once_per_clip_and_not_once_per_step():
    vae, dmg = small_vae().eval(), small_dmg().eval()
    calls = []
    for part in (dmg.tokens, dmg.concat, *(a.cross_attention.to_k for a in dmg.attentions())):
        part.register_forward_hook(lambda module, *_: calls.append(module))
    sampler = SamplerConfig(name="dpmpp_2m", num_steps=4, seed=0)
    generate(LatentMotion(vae, dmg, SCHEDULE), sampler, torch.zeros(2, 3, 16, 16), ["a", "b"])
    assert len(calls) == len(set(calls)) > 4


def test_config_hash_leaves_runtime_out():
    plain, compiled = (
        load_target("table_bair", "quick", overrides)
        for overrides in ((), ["runtime.compile=true", "runtime.sampling_batch_size=3"])
    )
    assert compiled.runtime.compile
    assert config_hash(plain) == config_hash(compiled)
    hashes = [[cell.plan_hash for cell in table_cells(target)] for target in (plain, compiled)]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(("device", "compiler"), [("cpu", "g++"), ("cuda", "gcc")])
def test_compile_denoiser_without_a_compiler_is_one_line(monkeypatch, tmp_path, device, compiler):
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CXX", "CC"):
        monkeypatch.delenv(variable, raising=False)
    parameters = iter([SimpleNamespace(device=torch.device(device))])
    with pytest.raises(LamdError) as refused:
        compile_denoiser(SimpleNamespace(parameters=lambda: parameters))
    assert str(refused.value).startswith(f"runtime.compile: no {compiler} here; install it")


def test_compile_denoiser_keeps_code_where_no_one_else_can_write(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr("lamd.generate.shutil.which", lambda name: name)
    monkeypatch.setattr(torch, "compile", lambda step, options: step)
    compile_denoiser(small_dmg())
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    assert (tmp_path / "compiled").stat().st_mode & 0o777 == 0o700
    assert origin.current_origin("cpu").path["compiled"] == "yes"
    (tmp_path / "compiled").chmod(0o777)
    with pytest.raises(LamdError, match="compiled: not a folder of yours with mode 0700"):
        compile_denoiser(small_dmg())


@pytest.mark.slow
def test_compiled_samples_are_the_same_within_the_tolerance(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    vae, dmg = small_vae().eval(), small_dmg("both").eval()
    wake(vae), wake(dmg)
    sampler = SamplerConfig(name="dpmpp_2m", num_steps=4, seed=0)
    x0, keys = torch.zeros(2, 3, 16, 16), ["a", "b"]
    z, t, f_x0 = torch.randn(2, 3, 4, 4), torch.full((2,), 500), torch.randn(2, 16, 4, 4)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            eps_hat = dmg.denoise(z, t, dmg.condition(f_x0))
        return eps_hat, generate(LatentMotion(vae, dmg, SCHEDULE), sampler, x0, keys)

    eager = run()
    compile_denoiser(dmg)
    ours = run()
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert list((tmp_path / "compiled").rglob("*.so"))
    for compiled, expected in zip(ours, eager, strict=True):
        assert torch.allclose(compiled, expected, atol=1e-4, rtol=1e-4)


def test_images_of_a_folder_are_in_natural_order_and_others_are_named(tmp_path, capsys):
    for name in ("10.tif", "9.png", "1.ppm"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    assert [path.name for path in _image_paths(tmp_path)] == ["1.ppm", "9.png", "10.tif"]
    assert "left out, not images: 1, such as notes.txt" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    steps = (f"{stage}.{key}=4" for stage in ("train_vae", "train_dmg")
             for key in ("num_steps", "validate_every", "checkpoint_every"))  # fmt: skip
    train_both(tiny_target("loss.gan=null", *steps), folder)
    return folder


def run_generate(folder, models, *options) -> int:
    """Run `lamd generate` of the tiny target, with output in `folder`; return its exit code."""
    places = {"out": folder / "out.npy", "runs": folder / "runs", "device": "cpu"}
    places |= {stage: models / stage for stage in ("vae", "dmg")}
    words = [word for name, value in places.items() for word in (f"--{name}", str(value))]
    with pytest.raises(SystemExit) as done:
        cli.main(["generate", str(HERE / "tiny.yaml"), "--set", "rows=[lamd]", *words, *options])
    return done.value.code


def test_clips_from_images_begin_with_them_in_natural_order_of_names(trained, tmp_path):
    images, data = tmp_path / "images", tiny_target().data
    images.mkdir()
    for seed, name in enumerate(("10.png", "9.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / name)
    assert run_generate(tmp_path, trained, "--frames", str(images), "--samples", "2") == 0
    clips = np.load(tmp_path / "out.npy")
    assert clips.shape == (4, 4, 16, 16, 3)
    for number, name in enumerate(("9.png", "9.png", "10.png", "10.png")):
        image = DATASETS[data.name].read_image(images / name, data.size, **data.own)
        np.testing.assert_array_equal(clips[number, 0], image)
    assert all((clips[first, 1:] != clips[first + 1, 1:]).any() for first in (0, 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--prompt", "a cone"), "is not conditioned on text or class; leave it out"),
        (
            ("--set", "dmg.prompt={kind: class, dropout: 0}", "--set", "baselines=null",
             "--frames", "a.png"),
            "needs a caption or class for your images; add it",
        ),
        ((), "--frames test: the data is not made"),
        (("--frames", "."), ".: no images there; give files ending in .bmp"),
        (("--frames", "a.png"), "a.png: no such image or folder; give one, or `test`"),
    ],
)  # fmt: skip
def test_generate_refuses_frames_and_prompts_that_do_not_fit(
    tmp_path, monkeypatch, capsys, options, words
):
    monkeypatch.chdir(tmp_path)
    assert run_generate(tmp_path, tmp_path, *options) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out.npy").exists()


NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_a_batch_that_a_gpu_has_no_room_for_is_halved(monkeypatch, error):
    tried = []

    def sample(paradigm, sampler, x0, keys, prompts, **options):
        tried.append(len(x0))
        if len(x0) > 2:
            raise error
        return x0[:, None].expand(-1, 3, -1, -1, -1)

    monkeypatch.setattr(generation, "generate", sample)
    paradigm = SimpleNamespace(network=torch.nn.Linear(1, 1))
    frames = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    clips = generation.generate_clips(paradigm, None, frames, "abcdefg", batch_size=5)
    assert tried == [5, 2, 3, 1, 2, 2]
    assert np.array_equal(clips, np.repeat(frames[:, None], 3, axis=1))
    monkeypatch.setattr(generation, "generate", lambda *_, **__: sample(*_[:2], frames, *_[3:]))
    with pytest.raises(type(error)):
        generation.generate_clips(paradigm, None, frames[:1], "a", batch_size=1)


def test_a_batch_that_fails_for_another_reason_is_not_halved(monkeypatch):
    wrong = Mock(side_effect=RuntimeError("size mismatch"))
    monkeypatch.setattr(generation, "generate", wrong)
    paradigm = SimpleNamespace(network=torch.nn.Linear(1, 1))
    with pytest.raises(RuntimeError, match="mismatch"):
        generation.generate_clips(
            paradigm, None, np.zeros((4, 4, 4, 3), np.uint8), "abcd", batch_size=4
        )
    assert wrong.call_count == 1


def test_clips_that_a_gpu_has_no_room_to_decode_are_not_denoised_again(monkeypatch):
    run, x0 = setup()
    expected, decode, tried = run(x0, "abcd"), LatentMotion.decode, []
    denoised = Mock(side_effect=generation.trajectory)

    def decode_two(self, z, given):
        tried.append(len(z))
        if len(z) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(self, z, given)

    monkeypatch.setattr(LatentMotion, "decode", decode_two)
    monkeypatch.setattr(generation, "trajectory", denoised)
    assert torch.allclose(run(x0, "abcd"), expected, atol=1e-5)
    assert tried == [4, 2, 2]
    assert denoised.call_count == 1
    monkeypatch.setattr(LatentMotion, "decode", Mock(side_effect=torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        run(x0, "abcd")


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m"])
@pytest.mark.parametrize("kind", PARADIGMS.values(), ids=PARADIGMS)
def test_all_tensors_of_a_run_are_on_the_device_of_its_frames(kind, name):
    """As a GPU would, the meta device refuses operations with a tensor of the CPU."""
    guide, prompts, own = {"scale": 3.0, "snapshot": 1, "steps": [20, 80]}, None, []
    if kind is LatentMotion:
        prompts = ["a cone", "a cube"]
        own = ["baselines=null", "dmg.prompt={kind: class, dropout: 0.1}",
               "sampler.guidance_scale=2.0"]  # fmt: skip
    target = tiny_target(
        *own,
        f"sampler.name={name}", "sampler.eta=" + ("1.0" if name == "ddim" else "null"),
        f"sampler.autoguidance={json.dumps(guide)}", "train_dmg.ema_snapshots=8",
        "sampler.clamp=4.0", "dmg.prediction=v",
    )  # fmt: skip
    words = None if prompts is None else Vocabulary.build("class", prompts)
    autoencoder = None
    with torch.device("meta"):
        network = kind.networks[kind.denoiser_stage].build(target, words).eval()
        if kind.autoencoder_stage is not None:
            autoencoder = kind.networks[kind.autoencoder_stage].build(target, None).eval()
        x0 = torch.empty(2, 3, 16, 16)
    paradigm = kind.of(target, network, autoencoder)
    paradigm.earlier = kind.of(target, network, autoencoder)
    x_hat = generate(paradigm, kind.sampler(target), x0, ["a", "b"], prompts)
    assert x_hat.is_meta and x_hat.shape == (2, 4, 3, 16, 16)
