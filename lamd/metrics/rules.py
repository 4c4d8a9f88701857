"""Metric protocols: a value means something only under all the rules it was measured by.

A name such as `fvd.bair.v1` stands for the rules of its `Protocol`; other rules, another name.
Values of different protocols do not compare.
"""

from dataclasses import asdict, dataclass

from lamd import weights

CLASS_METRICS = ("cfvd", "cfvd_spread")  # clips are compared class by class
CAPTION_METRICS = ("action_precision", "referring_expression_precision")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules of one metric; None means that the protocol leaves it to the clips given."""

    name: str
    metric: str  # fvd, fid, psnr, ssim, diversity, ...: what is computed
    clip_rule: str  # which frames of a video make a clip, what is compared with what
    split: str | None = None
    num_frames: int | None = None  # of a clip as it is compared
    given_frames: int = 0  # leading frames of a generated clip that are copies of the real ones
    given_counted: bool = True
    num_real: int | None = None  # clips
    num_fake: int | None = None  # clips
    samples_per_condition: int = 1  # consecutive generated clips that share a real one
    windows_per_video: int = 1  # consecutive real clips cut from one video
    backbone: str | None = None
    weight_hash: str | None = None
    resize: str = "frames as they are"
    storage: str = "uint8, lossless"
    solver: str
    departure: str | None = None  # from the published metric of the same name
    unit: str = ""
    higher_is_better: bool = False

    @property
    def paired(self) -> bool:
        """Whether each generated clip is compared with its own real one."""
        apart = ("fvd", *CLASS_METRICS, "fid", "smoothness", "diversity")
        return self.metric not in apart

    @property
    def first_frame(self) -> int:
        """The first frame that counts."""
        return 0 if self.given_counted else self.given_frames

    def describe(self) -> str:
        """Return the rules as one line."""
        parts = [self.split and f"{self.split} split", self.clip_rule]
        if self.num_frames:
            parts.append(f"{self.num_frames} frames compared")
        if self.given_frames:
            counted = "kept and counted" if self.given_counted else "not counted"
            parts.append(f"given frames: {self.given_frames}, {counted}")
        else:
            parts.append("every frame counted")
        if self.num_real:
            parts.append(f"{self.num_real} real and {self.num_fake} generated clips")
        if self.split:
            parts.append(f"samples a condition: {self.samples_per_condition}")
        if self.backbone:
            weights = f" (weights {self.weight_hash[:8]})" if self.weight_hash else ""
            parts.append(f"{self.backbone}{weights}")
        better = "higher is better" if self.higher_is_better else "lower is better"
        parts += [self.resize, self.storage, self.solver, better, self.departure]
        return f"{self.name}: " + "; ".join(part for part in parts if part)

    def as_dict(self) -> dict:
        """Return all rules as plain data."""
        return asdict(self)


_FVD = {
    "metric": "fvd",
    "backbone": "I3D Kinetics-400 logits",
    "weight_hash": weights.ARTIFACTS["i3d-kinetics-400"].member_sha256,
    "resize": "shorter side to 224, bilinear, align_corners=False, no antialiasing, centre crop, "
    "[-1, 1]",
    "solver": "Fréchet distance in float64 by singular values, covariances over n - 1",
}
_BAIR = _FVD | {"split": "test", "num_frames": 16, "given_frames": 1}
_LANDSCAPE = _FVD | {"split": "test", "clip_rule": "given frame and the generated ones after it"}
# The test clips that the readme of Sky Time-lapse counts, and the paper (reported).
_LANDSCAPE_CLIPS = {"num_frames": 32, "num_real": 2815, "num_fake": 2815}
_GESTURES = _FVD | {"split": "test", "given_frames": 1}
_DRAWN = "frames drawn evenly from the first to the last of a clip"
_FID = {
    "metric": "fid",
    "clip_rule": "the frames of all clips as one set",
    "backbone": "Inception v3 of 2015-12-05, pool3",
    "weight_hash": weights.ARTIFACTS["inception"].member_sha256,
    "resize": "to 299 x 299, bilinear as in TensorFlow 1, no antialiasing",
    "solver": _FVD["solver"],
}
_ALEX = {
    "backbone": "AlexNet, LPIPS heads 0.1",
    "weight_hash": weights.ARTIFACTS["lpips-alexnet"].member_sha256,
    "solver": "LPIPS",
}
_VGG = {
    "backbone": "VGG16, LPIPS heads 0.1",
    "weight_hash": weights.ARTIFACTS["lpips-vgg16"].member_sha256,
    "solver": "LPIPS",
}
_PSNR = {
    "solver": "PSNR a frame, data range 255, capped at 100 dB",
    "unit": "dB",
    "higher_is_better": True,
}
_SSIM = {
    "solver": "SSIM a frame, Gaussian window sigma 1.5 (11 x 11), data range 255, mean of RGB",
    "higher_is_better": True,
}

_PRECISION = {
    "split": "test",
    "solver": "told by the captioner that this target trains on its train split; hits over hits "
    "and misses of a clip, best pairing of sentences, mean over clips",
    "departure": "our captioner in place of SwinBERT: beside its own value on real clips only",
    "higher_is_better": True,
}


def _paired(metric: str, **rules: object) -> tuple[Protocol, Protocol]:
    # `given1` is for generation from one frame, whose copy would lift every mean.
    rule = "clip against its real clip, mean over frames, then over clips"
    every = Protocol(name=f"{metric}.v1", metric=metric, clip_rule=rule, **rules)
    after = Protocol(name=f"{metric}.given1.v1", metric=metric, clip_rule=rule, given_frames=1,
                     given_counted=False, **rules)  # fmt: skip
    return every, after


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="fvd.clips.v1", clip_rule="clips as they are", **_FVD),
        Protocol(name="fvd.bair.v1", clip_rule="frames 0-15", num_real=256, num_fake=256, **_BAIR),
        Protocol(
            name="fvd.bair.x100.v1",
            clip_rule="frames 0-15",
            num_real=256,
            num_fake=25_600,
            samples_per_condition=100,
            **_BAIR,
        ),
        Protocol(
            name="fvd.bair.windows.v1",
            clip_rule="all 15 windows of 16 frames, stride 1",
            num_real=3840,
            num_fake=3840,
            windows_per_video=15,
            **_BAIR,
        ),
        # cINN's rule, at its two lengths
        Protocol(
            name="fvd.landscape.v1",
            given_frames=1,
            given_counted=False,
            **_LANDSCAPE,
            **_LANDSCAPE_CLIPS | {"num_frames": 31},
        ),
        Protocol(
            name="fvd.landscape.16.v1",
            num_frames=16,
            given_frames=1,
            given_counted=False,
            **_LANDSCAPE,
        ),
        Protocol(name="fvd.landscape.counted.v1", given_frames=1, **_LANDSCAPE, **_LANDSCAPE_CLIPS),
        # Reconstruction: the decoder makes every frame, the first one too
        Protocol(
            name="fvd.bair.reconstruction.v1",
            clip_rule="frames 0-15, every one decoded",
            num_real=256,
            num_fake=256,
            **_BAIR | {"given_frames": 0},
        ),
        Protocol(
            name="fvd.landscape.reconstruction.v1",
            **_LANDSCAPE | {"clip_rule": "every frame decoded"},
            **_LANDSCAPE_CLIPS,
        ),
        Protocol(name="fvd.cater.v1", split="test", clip_rule="all frames", given_frames=1, **_FVD),
        # NATOPS and MUG
        Protocol(name="fvd.gestures.v1", clip_rule=_DRAWN, **_GESTURES),
        Protocol(
            name="cfvd.gestures.v1",
            clip_rule=f"{_DRAWN}, FVD of the clips of each class, mean over classes",
            **_GESTURES | {"metric": "cfvd"},
        ),
        Protocol(
            name="cfvd_spread.gestures.v1",
            clip_rule=f"{_DRAWN}, FVD of the clips of each class, standard deviation over classes",
            **_GESTURES | {"metric": "cfvd_spread"},
        ),
        Protocol(
            name="action_precision.v1",
            metric="action_precision",
            clip_rule="kind of motion, and the place for slide and pick-place, told of each clip",
            **_PRECISION,
        ),
        Protocol(
            name="referring_expression_precision.v1",
            metric="referring_expression_precision",
            clip_rule="shape and attributes of what moves, and of what it contains, told of each "
            "clip",
            **_PRECISION,
        ),
        Protocol(name="fid.frames.v1", **_FID),
        Protocol(name="fid.frames.given1.v1", given_frames=1, given_counted=False, **_FID),
        *_paired("lpips-alex", **_ALEX),
        *_paired("lpips-vgg", **_VGG),
        *_paired("psnr", **_PSNR),
        *_paired("ssim", **_SSIM),
        Protocol(
            name="smoothness.linear.v1",
            metric="smoothness",
            clip_rule="generated clips alone, odd frames against the mean of their two neighbours",
            solver="100 (255 - mean absolute difference) / 255, data range 255, mean over clips",
            departure="the mean of two neighbours in place of VBench's AMT-S network (arXiv "
            "2311.17982): beside no published motion smoothness",
            unit="%",
            higher_is_better=True,
        ),
        Protocol(
            name="diversity.lpips-alex.v1",
            metric="diversity",
            clip_rule="mean over all pairs of samples of one condition, then over conditions",
            given_frames=1,
            given_counted=False,
            higher_is_better=True,
            **_ALEX,
        ),
    )
}
