"""Memory: batch sizes of sampling and decoding, gradient checkpointing, and what is predicted."""

from functools import partial

import numpy as np
import pytest
import torch
from small import small_dmg, small_vae, wake
from tiny import tiny_target
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from lamd.config import SamplerConfig, config_hash, load_target
from lamd.diffusion import make_schedule
from lamd.flops import Meter
from lamd.forecast.step import Autocast, count_step, noise_stage, stage_options
from lamd.generate import generate_clips
from lamd.metrics.frames import meta_lpips
from lamd.nn import checkpoint_blocks
from lamd.paradigms.latent_motion import LatentMotion
from lamd.training.engine import _Run
from lamd.training.stages import StepRNG

PAPER_TABLES = [
    f"table_{name}" for name in ("bair", "landscape", "cater_v1", "cater_v2", "mug", "natops")
]
STAGES = ["vae", "video_vae", "dmg", "pixel", "latent_video"]
GIB = 2**30


def saved_bytes(run, weights) -> int:
    """Return the bytes that autograd saves in `run`, weights apart."""
    storages, own = {}, {tensor.untyped_storage().data_ptr() for tensor in weights}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = run()
    del kept
    return sum(storage.nbytes() for at, storage in storages.items() if at not in own)


def test_decoding_batch_changes_no_clip_and_bounds_the_decoder():
    vae, dmg = small_vae().eval(), small_dmg().eval()
    wake(vae), wake(dmg)
    models = LatentMotion(vae, dmg, make_schedule("sqrt_linear", 1000, 0.0015, 0.0195))
    sampler = SamplerConfig(name="ddim", num_steps=3, eta=1.0, seed=0)
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    decoded = []
    vae.video_decoder.register_forward_pre_hook(lambda _, args: decoded.append(len(args[0])))

    def clips(size):
        options = {"batch_size": 4, "decoding_batch_size": size}
        return generate_clips(models, sampler, frames, list("abcde"), **options)

    together, apart = clips(None), clips(3)
    assert decoded == [4, 1, 3, 1, 1]
    assert np.abs(together.astype(int) - apart).max() <= 1  # rounding to grey levels


@pytest.mark.parametrize("table", PAPER_TABLES)
def test_no_paper_profile_decodes_more_than_eight_million_pixels_at_once(table):
    target = load_target(table, "paper")
    pixels = target.data.num_frames * target.data.size**2
    assert target.runtime.decoded_at_once * pixels <= 2**23


def test_no_hash_covers_memory_options():
    plain = tiny_target()
    changed = tiny_target("runtime.decoding_batch_size=2", "runtime.gradient_checkpointing=true")
    assert config_hash(plain) == config_hash(changed)


def run_terms(stage, size, step=1):
    """Run a stage's forward pass on its first clips."""
    rng = StepRNG(0, stage.name, step, size, 0, size)
    return stage.terms(stage.model.train(), stage.read(np.arange(size)), rng)


@pytest.mark.parametrize("name", STAGES)
def test_checkpointing_keeps_gradients_and_statistics_and_saves_less(name):
    blocks = "baselines.latent_video.autoencoder.num_res_blocks=1"
    target, results = tiny_target("loss.gan=null", "vae.copy_attention=true", blocks), []
    for is_checkpointed in (False, True):
        torch.manual_seed(0)  # of the frozen encoder
        stage = noise_stage(name, target)
        wake(stage.model)
        if is_checkpointed:
            checkpoint_blocks(stage.model)
        saved = saved_bytes(lambda stage=stage: run_terms(stage, 4), stage.model.parameters())
        sum(run_terms(stage, 4).losses.values()).backward()
        gradients = [parameter.grad for parameter in stage.model.parameters()]
        results.append((saved, gradients, list(stage.model.buffers())))
    (saved, *plain), (saved_less, *checkpointed) = results
    assert saved_less < 0.8 * saved
    torch.testing.assert_close(plain, checkpointed, rtol=1e-5, atol=1e-6)


def test_training_with_checkpoints_ends_with_the_same_weights(tmp_path):
    results = []
    for flag in ("false", "true"):
        stage = noise_stage("vae", tiny_target(f"runtime.gradient_checkpointing={flag}"))
        run = _Run(stage, tmp_path, "", "cpu")
        run.train_step(4, [stage.read(np.arange(4))])  # with the adversary's adaptive weight
        saved = saved_bytes(partial(run_terms, stage, 4), stage.model.parameters())
        results.append((saved, *stage.model.state_dict().values()))
    (saved, *plain), (saved_less, *checkpointed) = results
    assert saved_less < saved
    torch.testing.assert_close(plain, checkpointed, rtol=1e-4, atol=1e-6)


def allocated(run) -> int:
    """Return the most bytes that PyTorch's CPU allocator gives out during `run`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    assert profiled.profiler is not None
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(changes).max())


@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, "fp32") for name in STAGES] + [(name, "bf16") for name in ("vae", "dmg", "pixel")],
)
def test_predicted_memory_is_what_a_real_step_takes(name, precision, monkeypatch):
    target = tiny_target(
        "data.size=64", "loss.lpips_weight=1", f"train_vae.precision={precision}",
        f"train_dmg.precision={precision}", "train_vae.batch_size=8", "train_dmg.batch_size=8",
    )  # fmt: skip
    has_adversary, train = name in ("vae", "video_vae"), stage_options(target, name)
    predicted = count_step(target, name, has_adversary).memory
    net = meta_lpips("alex").to_empty(device="cpu")
    monkeypatch.setattr("lamd.metrics.frames.load_lpips", lambda *_: net)
    stage = noise_stage(name, target)
    trained = [stage.model, *([stage.adversary] if has_adversary else [])]
    autoencoder = None if has_adversary else stage.paradigm.autoencoder
    frozen = net if has_adversary else autoencoder or torch.nn.Module()
    if precision == "bf16":
        for norm in (F.group_norm, F.layer_norm):  # as on CUDA, unlike on a CPU
            raised = partial(lambda norm, h, *rest: norm(h.float(), *rest), norm)
            monkeypatch.setattr(F, norm.__name__, raised)
        monkeypatch.setattr("lamd.nn.attend", F.scaled_dot_product_attention)
        monkeypatch.setattr("lamd.nn.FullConv.forward", torch.nn.Conv3d.forward)
        for module in trained:
            module.forward = torch.autocast("cpu", torch.bfloat16)(module.forward)

    number = 1 + 3 * has_adversary  # gan.start_step is 3

    def step():
        terms = run_terms(stage, train.batch_size, number)
        sum(terms.losses.values()).backward()
        if has_adversary:
            terms = stage.adversary_terms(stage.adversary, terms.for_discriminator)
            terms.losses["adversary"].backward()

    def size(*modules):
        return sum(t.nbytes for m in modules for t in (*m.parameters(), *m.buffers()))

    average = size(stage.model)
    kept = 3 * size(*trained) + average + size(frozen)  # weights and Adam's moments
    weights = [p for module in (*trained, frozen) for p in module.parameters()]
    with Meter("cpu") as meter:
        step()
    given = allocated(step)  # scratch memory of kernels too, which differs between CPUs
    saved = saved_bytes(partial(run_terms, stage, train.batch_size, number), weights)
    assert predicted - kept == pytest.approx(meter.peak, rel=0.05)
    assert meter.peak < 1.05 * given
    assert predicted - kept > saved


def dtypes(device):
    """Return the type that each operation of our networks writes, given float32."""
    h, w = torch.empty(2, 8, 4, 4, device=device), torch.empty(8, 8, 3, 3, device=device)
    tokens = torch.empty(2, 4, 8, device=device)
    low = F.conv2d(h, w)
    return [
        out.dtype
        for out in (
            low, F.conv3d(h[:, :, None], w[:, :, None]), F.linear(tokens, w[..., 0, 0]),
            F.conv_transpose3d(h[:, :, None], w[:, :, None]), F.group_norm(low, 2),
            F.layer_norm(F.linear(tokens, w[..., 0, 0]), (8,)), F.silu(low), F.gelu(low),
            F.interpolate(low, scale_factor=2.0), torch.cat([low, F.group_norm(low, 2)]),
            torch.addcmul(low, F.group_norm(low, 2), low), F.mse_loss(h, h),
        )
    ]  # fmt: skip


def test_mixed_precision_is_that_of_cuda():
    with Autocast(torch.bfloat16):
        predicted = dtypes("meta")
    before = torch.get_autocast_dtype("cuda")
    with FakeTensorMode():
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        torch.set_autocast_enabled("cuda", True)
        try:
            assert predicted == dtypes("cuda")
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.set_autocast_dtype("cuda", before)
    assert {torch.bfloat16, torch.float32} == set(predicted)


@pytest.mark.slow
@pytest.mark.parametrize("table", PAPER_TABLES)
def test_every_paper_model_of_one_clip_is_counted_and_fits(table):
    names, keys = ["vae", "dmg"], ["train_vae", "train_dmg"]
    if load_target(table, "paper").baselines is not None:
        names += ["pixel", "video_vae", "latent_video"]
        keys += ["baselines.pixel", "baselines.latent_video"]
    single = [f"{key}.{text}" for key in keys for text in ("batch_size=1", "micro_batch_size=null")]
    target = load_target(table, "paper", [*single, "runtime.gradient_checkpointing=true"])
    for name in names:
        cost = count_step(target, name, name in ("vae", "video_vae"))
        assert cost.memory < 11.45e9  # docs/baselines-and-cost.md
