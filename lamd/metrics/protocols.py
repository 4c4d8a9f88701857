"""Metric protocols: a value means something only under all the rules it was measured by.

A name such as `fvd.bair.v1` stands for the rules of its `Protocol`; other rules, another name.
Values of different protocols do not compare.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from lamd import weights
from lamd.base.errors import LamdError
from lamd.metrics.registry import METRICS, Metric


@dataclass(frozen=True)
class Protocol:
    """The rules of one metric; None means that the protocol leaves it to the clips."""

    name: str
    metric: str  # a key of `METRICS`
    clip_rule: str  # the frames of a video that make a clip, and what is compared with what
    solver: str
    split: str | None = None
    num_frames: int | None = None  # of a clip as it is compared
    given_frames: int = 0  # leading frames of a generated clip that are copies of the real ones
    given_counted: bool = True
    num_real: int | None = None  # clips
    num_fake: int | None = None  # clips
    samples_per_condition: int = 1  # consecutive generated clips that share a real one
    windows_per_video: int | None = None  # consecutive real clips cut from one video
    backbone: str | None = None
    resize: str = "frames at their own size"
    storage: str = "uint8, lossless"
    departure: str | None = None  # from the published metric of the same name

    @property
    def first_frame(self) -> int:
        """The first frame that counts."""
        return 0 if self.given_counted else self.given_frames

    @property
    def column(self) -> str:
        """The column of a table: the metric.

        FVD with the given frame counted has its own, since the two do not compare.
        """
        return f"{self.metric}-counted" if "counted" in self.name.split(".") else self.metric

    @property
    def weight_hash(self) -> str | None:
        """The sha256 of the network's weights file, None without a network."""
        names = METRICS[self.metric].weights
        return weights.ARTIFACTS[names[0]].member_sha256 if names else None

    def describe(self) -> str:
        """Return the rules as one line."""
        metric = METRICS[self.metric]
        given = "every frame counted"
        if self.given_frames:
            counted = "kept and counted" if self.given_counted else "not counted"
            given = f"given frames: {self.given_frames}, {counted}"
        pinned = f" (weights {self.weight_hash[:8]})" if self.weight_hash else ""
        parts = (
            self.split and f"{self.split} split",
            self.clip_rule,
            self.num_frames and f"{self.num_frames} frames compared",
            given,
            self.num_real and f"{self.num_real} real and {self.num_fake} generated clips",
            self.split and f"samples per condition: {self.samples_per_condition}",
            self.backbone and f"{self.backbone}{pinned}",
            self.resize,
            self.storage,
            self.solver,
            metric.direction,
            self.departure,
        )
        return f"{self.name}: " + "; ".join(part for part in parts if part)

    def as_dict(self) -> dict:
        """Return all rules as plain data."""
        metric = METRICS[self.metric]
        return asdict(self) | {
            "weight_hash": self.weight_hash,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
        }


PROTOCOLS: dict[str, Protocol] = {}


def register_protocol(protocol: Protocol) -> Protocol:
    """Add a protocol under its name.

    LamdError when its metric, or its column, is not registered or has only published values.
    """
    metric = METRICS.get(protocol.metric)
    if metric is None or not metric.measure or protocol.column not in METRICS:
        raise LamdError(
            f"{protocol.name}: no metric {protocol.metric!r} that can be measured; register it"
        )
    PROTOCOLS[protocol.name] = protocol
    return protocol


def metric_for(name: str) -> Metric:
    """Return the metric that protocol `name` is about."""
    return METRICS[PROTOCOLS[name].metric]


_FRECHET = "Fréchet distance in float64 by singular values, covariances over n - 1"
_i3d = partial(
    Protocol,
    backbone="I3D Kinetics-400 logits",
    resize="shorter side to 224, bilinear with half-pixel centres where the TensorFlow 1 original "
    "has none, no antialiasing, centre crop, [-1, 1]",
    solver=_FRECHET,
)
_test = partial(_i3d, split="test", given_frames=1)
_fvd = partial(_test, metric="fvd")
_bair = partial(
    _fvd,
    num_frames=16,
    num_real=256,
    num_fake=256,
    clip_rule="frames 0-15",
    windows_per_video=1,
)
_landscape = partial(_fvd, clip_rule="given frame and the generated ones after it")
# The test clips that the readme of Sky Time-lapse counts, and the paper (reported).
_landscape_clips = partial(_landscape, num_frames=32, num_real=2815, num_fake=2815)
_SPACED = "frames drawn evenly from the first to the last of a clip"
_BY_CLASS = f"{_SPACED}, FVD of the clips of each class"
_fid = partial(
    Protocol,
    metric="fid",
    clip_rule="the frames of all clips as one set",
    backbone="Inception v3 of 2015-12-05, pool3",
    resize="to 299 x 299, bilinear as in TensorFlow 1, no antialiasing",
    solver=_FRECHET,
)
_alex = partial(Protocol, backbone="AlexNet, LPIPS heads 0.1", solver="LPIPS")
_vgg = partial(Protocol, backbone="VGG16, LPIPS heads 0.1", solver="LPIPS")
_PSNR = "PSNR per frame, data range 255, capped at 100 dB"
_SSIM = "SSIM per frame, Gaussian window sigma 1.5 (11 x 11), data range 255, mean of RGB"
_STAND_INS = "stand-ins only: comparable with no published value"
_CAPTIONER = "reported by the captioner that this target trains on its train split"
_captions = partial(
    Protocol,
    split="test",
    departure="our captioner in place of SwinBERT: comparable with its own value on real clips "
    "only",
)
# Without the given frame, for generation from one: its copy would lift every mean.
_GIVEN1: dict[str, Any] = {"given_frames": 1, "given_counted": False}

for _protocol in (
    _i3d("fvd.clips.v1", "fvd", "clips unchanged"),
    _bair("fvd.bair.v1"),
    _bair("fvd.bair.x100.v1", num_fake=25_600, samples_per_condition=100),
    _bair(
        "fvd.bair.windows.v1",
        clip_rule="all 15 windows of 16 frames, stride 1",
        num_real=3840,
        num_fake=3840,
        windows_per_video=15,
    ),
    _landscape_clips("fvd.landscape.v1", num_frames=31, given_counted=False),
    # MDGAN's and DTVNet's clips: at most one of each of the 225 short videos
    _landscape(
        "fvd.landscape.first.v1",
        clip_rule="first 32 frames of each short video; generated ones after the given frame",
        num_frames=31,
        given_counted=False,
        windows_per_video=1,
    ),
    _landscape_clips("fvd.landscape.counted.v1"),
    # Reconstruction: the decoder makes every frame, the first one too
    _bair("fvd.bair.reconstruction.v1", clip_rule="frames 0-15, every one decoded", given_frames=0),
    _landscape_clips(
        "fvd.landscape.reconstruction.v1", clip_rule="every frame decoded", given_frames=0
    ),
    _fvd("fvd.cater.v1", clip_rule="all frames"),
    *(
        _i3d(f"{metric}.{frames}.v1", metric, clip_rule=clip_rule, solver=solver, **given)
        for metric, solver in (
            ("kvd", "unbiased MMD^2, kernel (x y / 400 + 1)^3; pairs that share a frame left out"),
            ("precision", "share of generated clips in a real clip's ball of 3 neighbours"),
            ("recall", "share of real clips in a generated clip's ball of 3 neighbours"),
            ("density", "real clips' balls of 5 neighbours around a generated clip, over 5"),
            ("coverage", "share of real clips with a generated one in their ball of 5 neighbours"),
        )
        for frames, clip_rule, given in (
            ("clips", "clips unchanged", {}),
            ("given1", "frames after the given one", _GIVEN1),
        )
    ),
    # NATOPS and MUG
    _fvd("fvd.gestures.v1", clip_rule=_SPACED),
    _test("cfvd.gestures.v1", "cfvd", f"{_BY_CLASS}, mean over classes"),
    _test(
        "cfvd_spread.gestures.v1", "cfvd_spread", f"{_BY_CLASS}, standard deviation over classes"
    ),
    *(
        _captions(f"{kind}_{name}", f"{kind}_{score}", rule, solver=f"{_CAPTIONER}; {solver}")
        for score, name, solver in (
            (
                "precision",
                "precision.mage.v1",
                "MAGE's rules: hits over hits and misses of a clip, the better pairing of its "
                "first two sentences, one miss for a wrong motion, true sentences without a "
                "partner not counted; mean over clips",
            ),
            (
                "recall",
                "recall.v1",
                "share of what the true caption says, best one-to-one pairing of sentences, mean "
                "over clips",
            ),
        )
        for kind, rule in (
            ("action", "kind of motion, and the place for slide and pick-place, per clip"),
            (
                "referring_expression",
                "shape and attributes of what moves, and of what it contains, per clip",
            ),
        )
    ),
    _fid("fid.frames.v1"),
    _fid("fid.frames.given1.v1", **_GIVEN1),
    *(
        rules(
            f"{metric}{suffix}.v1",
            metric,
            "clip against its real clip, mean over frames, then over clips",
            **given,
        )
        for metric, rules in (
            ("lpips-alex", _alex),
            ("lpips-vgg", _vgg),
            ("psnr", partial(Protocol, solver=_PSNR)),
            ("ssim", partial(Protocol, solver=_SSIM)),
        )
        for suffix, given in (("", {}), (".given1", _GIVEN1))
    ),
    Protocol(
        "smoothness.linear.v1",
        "smoothness",
        "generated clips alone, odd frames against the mean of their two neighbours",
        "100 (255 - mean absolute difference) / 255, data range 255, mean over clips",
        departure="the mean of two neighbours in place of VBench's AMT-S network (arXiv "
        "2311.17982): comparable with no published motion smoothness",
    ),
    Protocol(
        "motion.dis.v1",
        "motion",
        "generated clips alone, frames one after the other",
        "length of DIS optical flow, medium preset, in % of the shorter side per frame, mean over "
        "pixels, frames and clips",
    ),
    Protocol(
        "flow_histogram.dis.v1",
        "flow_histogram",
        "frames one after the other",
        "total variation distance of histograms of DIS optical flow, medium preset, 6 lengths from "
        "0.25 to 8 % of the shorter side on, 8 directions, and one bin for still pixels",
    ),
    Protocol(
        "trajectory_error.v1",
        "trajectory_error",
        "what moves, where a frame is most like its pictures in the real clip, against its true "
        "position in the simulator, mean over frames and things, then over clips",
        "normalised cross-correlation of patches of a sixth of the frame's side, up to a sixth "
        "of it per frame, parabolas between pixels; distance in pixels of the clips",
        departure=_STAND_INS,
        **_GIVEN1,
    ),
    Protocol(
        "colour_error.v1",
        "colour_error",
        "what moves, as in trajectory_error.v1, against its picture at the true position in the "
        "real clip, mean over frames and things, then over clips",
        "CIE76 distance of the mean CIELAB colours of discs, radius a 24th of the frame's side",
        departure=_STAND_INS,
        **_GIVEN1,
    ),
    _alex(
        "diversity.lpips-alex.v1",
        "diversity",
        "mean over all pairs of samples of one condition, then over conditions",
        **_GIVEN1,
    ),
):
    register_protocol(_protocol)
