"""Prompts from the words to the samples: text and class, guidance, training and resuming."""

import numpy as np
import pytest
import torch
from small import small_dmg, small_vae, wake
from tiny import TinyVideos, tiny_target

from lamd.base.errors import LamdError
from lamd.config import SamplerConfig
from lamd.data.vocabulary import Vocabulary
from lamd.diffusion import make_schedule
from lamd.forecast.step import noise_stage
from lamd.generate import generate
from lamd.paradigms.base import Given
from lamd.paradigms.latent_motion import LatentMotion
from lamd.training import encode_latents, load_model, train
from lamd.training.captioner_stage import CaptionerStage
from lamd.training.stages import StepRNG

CAPTIONS = ("the cone is rotating.", "the snitch is sliding to the first quadrant.")
TEXT = Vocabulary.build("text", CAPTIONS)
CLASS = Vocabulary.build("class", ("wave", "bow"))
SCHEDULE = make_schedule("sqrt_linear", 100, 0.0015, 0.0195)
PROMPT = "{kind: text, max_tokens: 16, num_layers: 1, dropout: 0.25}"


def prompted(vocabulary=TEXT, condition="both", **options):
    if vocabulary is TEXT:
        options |= {"max_prompt_tokens": 16, "num_prompt_layers": 1}
    dmg = small_dmg(condition, vocabulary=vocabulary, **options)
    wake(dmg)
    return dmg.eval()


def inputs(batch=2):
    generator = torch.Generator().manual_seed(3)
    z_t = torch.randn(batch, 3, 4, 4, generator=generator)
    return z_t, torch.tensor([7] * batch), torch.randn(batch, 16, 4, 4, generator=generator)


@pytest.mark.parametrize("condition", ["cross_attention", "concat", "both", "none"])
def test_the_output_changes_with_the_prompt(condition):
    dmg = prompted(condition=condition)
    one, other = (dmg(*inputs(), dmg.prompt.token_ids([c, c])) for c in CAPTIONS)
    assert (one - other).abs().max() > 1e-4
    torch.testing.assert_close(one, dmg(*inputs(), dmg.prompt.token_ids([CAPTIONS[0]] * 2)))


def test_a_class_is_one_token():
    dmg = prompted(CLASS)
    words = dmg.prompt.token_ids(["bow", "wave"])
    assert words.shape == (2, 1)
    assert dmg.prompt(words).shape == (2, 1, 16)
    assert not torch.equal(dmg(*inputs(), words), dmg(*inputs(), words.flip(0)))


@pytest.mark.parametrize("vocabulary", [TEXT, CLASS])
def test_pooled_words_are_summed_and_padding_adds_nothing(vocabulary):
    dmg = prompted(vocabulary, pooled_prompt=True)
    words = dmg.prompt.token_ids([vocabulary.tokens[-1]])
    found = dmg.condition(inputs(1)[2], words).pooled
    said = words[words > 0]
    torch.testing.assert_close(found, dmg.prompt.bag.weight[said].sum(0, keepdim=True))
    assert not dmg.condition(inputs(1)[2], torch.zeros_like(words)).pooled.any()


@pytest.mark.parametrize("vocabulary", [TEXT, CLASS])
def test_the_step_embedding_takes_the_pooled_words(vocabulary):
    dmg = prompted(vocabulary, pooled_prompt=True)
    for attention in dmg.attentions():  # no way from the words but the step embedding
        attention.cross_attention.to_out.weight.data.zero_()
    torch.nn.init.normal_(dmg.prompt.bag.weight)
    z_t, t, f_x0 = inputs(1)
    one, other = (
        dmg(z_t, t, f_x0, dmg.prompt.token_ids([token])) for token in vocabulary.tokens[-2:]
    )
    assert (one - other).abs().max() > 1e-4


def test_words_in_another_order_are_another_prompt():
    dmg = prompted()
    words = dmg.prompt.token_ids([CAPTIONS[1]] * 2)
    swapped = words.clone()
    swapped[:, [2, 8]] = words[:, [8, 2]]
    assert (dmg(*inputs(), words) - dmg(*inputs(), swapped)).abs().max() > 1e-5


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_guidance_is_its_formula(scale):
    dmg, (z_t, t, f_x0) = prompted(), inputs()
    words = dmg.prompt.token_ids([CAPTIONS[0]] * 2)
    cond, uncond = dmg(z_t, t, f_x0, words), dmg(z_t, t, f_x0, torch.zeros_like(words))
    assert (cond - uncond).abs().max() > 1e-4
    models, prompts = LatentMotion(small_vae(), dmg, SCHEDULE), [CAPTIONS[0]] * 2
    guided = models.denoiser(Given(f_x0), prompts, scale)(z_t, t)
    torch.testing.assert_close(guided, uncond + scale * (cond - uncond))
    if scale == 1.0:
        torch.testing.assert_close(guided, models.denoiser(Given(f_x0), prompts, None)(z_t, t))


def test_samples_depend_on_the_prompt():
    dmg, vae = prompted(), small_vae().eval()
    sampler = SamplerConfig(name="ddim", num_steps=4, eta=0.0, seed=0)
    x0 = torch.rand(2, 3, 16, 16)
    models = LatentMotion(vae, dmg, SCHEDULE)
    one, other = (generate(models, sampler, x0, ["a", "b"], [c, c]) for c in CAPTIONS)
    assert (one - other).abs().max() > 1e-4


def test_a_prompt_in_other_words_is_one_line():
    dmg = prompted()
    with pytest.raises(LamdError, match="unknown word 'cube'"):
        dmg.prompt.token_ids(["the cube is rotating."])


class ToldVideos(TinyVideos):
    """`TinyVideos` with a caption each."""

    def __init__(self):
        super().__init__()
        self.conditions = tuple(CAPTIONS[i % 2] for i in range(len(self.videos)))


def prompted_target(*overrides):
    captioner = "{channels: [8, 16], num_layers: 1, head_channels: 8, max_tokens: 16}"
    return tiny_target(
        f"dmg.prompt={PROMPT}", f"captioner={captioner}", "train_captioner.num_steps=4",
        "baselines=null",
        *(f"train_captioner.{key}={value}" for key, value in TRAIN.items()), *overrides,
    )  # fmt: skip


TRAIN = {
    "batch_size": 4, "learning_rate": 2e-3, "lr_schedule": "cosine",
    "warmup_steps": 1, "weight_decay": 0.01, "adam_betas": "[0.9, 0.99]", "gradient_clip": 1.0,
    "ema_decay": 0.9, "precision": "fp32", "window_stride": 2, "log_every": 1,
    "checkpoint_every": 2, "validate_every": 2, "num_validation_clips": 2, "keep_last": 1,
    "seed": 0,
}  # fmt: skip


def test_both_stages_train_with_prompts_and_keep_the_vocabulary(tmp_path):
    target, videos = prompted_target(), ToldVideos()
    train("vae", target, videos, tmp_path / "vae", run_id="v", device="cpu")
    encode_latents(target, videos, tmp_path / "vae", tmp_path / "z", run_id="z", device="cpu")
    parents = {"autoencoder": tmp_path / "vae", "latents": tmp_path / "z"}
    for name, first in (("once", None), ("twice", 5)):
        for steps in (first, None):
            train(
                "dmg", target, videos, tmp_path / name, parents,
                run_id="d", device="cpu", max_steps=steps,
            )  # fmt: skip
    dmg = load_model(tmp_path / "once", "dmg", target)
    assert dmg.prompt.vocabulary == TEXT
    again = load_model(tmp_path / "twice", "dmg", target).state_dict()
    for name, tensor in dmg.state_dict().items():
        assert torch.equal(tensor, again[name]), name


def test_a_captioner_learns_what_two_captions_say(tmp_path):
    # the caption follows from colour alone, so a few steps are enough
    videos = ToldVideos()
    for i, video in enumerate(videos.videos):
        video[:] = 255 * (i % 2)
    target = prompted_target("train_captioner.num_steps=60", "train_captioner.learning_rate=4.0e-3")
    train("captioner", target, videos, tmp_path, run_id="c", device="cpu")
    captioner = load_model(tmp_path, "captioner")
    x = torch.stack([torch.full((4, 3, 16, 16), value) for value in (-1.0, 1.0)])
    captions = captioner.caption(x)
    assert [caption.replace(" .", ".") for caption in captions] == list(CAPTIONS)


def test_a_stopped_captioner_ends_with_the_same_bits(tmp_path):
    for folder, stops in ((tmp_path / "whole", [None]), (tmp_path / "parts", [2, None])):
        for stop in stops:
            train(
                "captioner", prompted_target(), ToldVideos(), folder, run_id="c", device="cpu",
                max_steps=stop,
            )  # fmt: skip
    whole, parts = (tmp_path / name / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_slices_weigh_as_much_as_the_tokens_in_their_captions():
    stage = CaptionerStage(prompted_target(), ToldVideos())
    rows = np.arange(4)

    def loss(rows: np.ndarray) -> float:
        terms = stage.terms(stage.model, stage.read(rows), StepRNG(0, "", 1, 4, 0, 4))
        return terms.losses["cross_entropy"].item()

    slices = (rows[:1], rows[1:])
    weights = [stage.weight(part) / stage.weight(rows) for part in slices]
    assert sum(weights) == pytest.approx(1) and weights[0] != pytest.approx(0.25, rel=1e-3)
    parts = sum(w * loss(part) for w, part in zip(weights, slices, strict=True))
    assert parts == pytest.approx(loss(rows), rel=1e-5)


def test_prompts_need_conditions(tmp_path):
    target = prompted_target()
    videos = TinyVideos()
    videos.conditions = None
    train("vae", target, videos, tmp_path / "vae", run_id="v", device="cpu")
    encode_latents(target, videos, tmp_path / "vae", tmp_path / "z", run_id="z", device="cpu")
    parents = {"autoencoder": tmp_path / "vae", "latents": tmp_path / "z"}
    with pytest.raises(LamdError, match="bair has neither captions nor classes"):
        train("dmg", target, videos, tmp_path / "dmg", parents, run_id="d", device="cpu")


def test_prompts_are_left_out_at_their_rate_and_whole():
    stage, seen = noise_stage("dmg", tiny_target("baselines=null", f"dmg.prompt={PROMPT}")), []

    def model(z_t, t, f_x0, ids):
        seen.append(ids)
        return torch.zeros_like(z_t)

    model.training = False
    batch = stage.read(np.arange(8))
    for step in range(1, 101):
        stage.terms(model, batch, StepRNG(0, "dmg", step, 8, 0, 8))
    given = torch.stack(seen)
    dropped = (given == 0).all(dim=2)
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.06)
    assert torch.equal(given[~dropped], batch[-1].expand_as(given)[~dropped])


def test_a_sampler_s_scale_guides():
    scales = []

    class Recorded(LatentMotion):
        def denoiser(self, given, prompts, scale):
            scales.append(scale)
            return super().denoiser(given, prompts, scale)

    models = Recorded(small_vae().eval(), prompted(), SCHEDULE)
    for scale in (None, 3.0):
        sampler = SamplerConfig(name="ddim", num_steps=1, eta=0.0, seed=0, guidance_scale=scale)
        generate(models, sampler, torch.zeros(1, 3, 16, 16), ["a"], [CAPTIONS[0]])
    assert scales == [None, 3.0]
