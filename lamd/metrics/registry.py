"""The metrics that a table can have as columns; adding one is one `register` call."""

from dataclasses import dataclass
from functools import partial
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """Everything that any layer asks about a metric."""

    name: str  # of the column, and first part of its protocols' names
    label: str  # for people, without an arrow
    digits: int = 3  # decimals shown
    unit: str = ""
    higher_is_better: bool | None = False  # None: the best value is that of real clips
    # relative distance to a published value that still counts as reproduced; None: there is none
    tolerance: float | None = None
    # `package.module:function` of (real, fake, inputs): what the metric `needs` of both sets, and
    # the `Inputs` for the options. It returns float64 (N,), one value per generated clip or
    # condition, or a `SetValue`. Empty for columns of published values.
    measure: str = ""
    # clips uint8 (N, L, H, W, 3), I3D features (N, 400), Inception features (N, L, 2048), captions,
    # or clips and the true tracks of the real ones, which stand-ins have
    needs: Literal["clips", "i3d", "inception", "captions", "tracks"] = "clips"
    per_class: bool = False  # clips are compared class by class
    paired: bool = False  # each generated clip is compared with its own real one
    sampled_only: bool = False  # it needs several samples per condition
    unbiased: bool = False  # of features: expected to be the same for any number of clips
    min_clips: int = 1  # of a set
    min_frames: int = 1  # that count
    min_size: int = 1  # of the shorter side of a frame, in pixels
    weights: tuple[str, ...] = ()  # names of `lamd.weights.ARTIFACTS`, that of the network first

    @property
    def heading(self) -> str:
        """The label with an arrow towards better values."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        return f"{self.label}{arrow}"

    @property
    def direction(self) -> str:
        """The better values in words."""
        if self.higher_is_better is None:
            return "best where the real clips are"
        return "higher is better" if self.higher_is_better else "lower is better"

    @property
    def from_features(self) -> bool:
        """Whether it compares sets of network features."""
        return self.needs in ("i3d", "inception")


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Add a metric under its name."""
    METRICS[metric.name] = metric
    return metric


_FRAMES, _FRECHET, _MOTION = "lamd.metrics.frames", "lamd.metrics.frechet", "lamd.metrics.motion"
# Three temporal halvings of I3D must leave two steps for the last pool.
_i3d = partial(
    Metric, digits=1, needs="i3d", weights=("i3d-kinetics-400",), min_clips=2, min_frames=9
)
_overlap = partial(_i3d, digits=3, higher_is_better=True)
_by_class = partial(_i3d, per_class=True)
_paired = partial(Metric, paired=True, higher_is_better=True)
# Below these sizes the last feature map of LPIPS would be empty.
_alex = partial(Metric, weights=("lpips-alexnet",), min_size=31)
_vgg = partial(Metric, weights=("lpips-vgg16",), min_size=16)
_captions = partial(_paired, needs="captions")
_percent = partial(Metric, unit="%", higher_is_better=True)
_flow = partial(Metric, digits=2, unit="%", min_frames=2, min_size=16)
_tracked = partial(Metric, digits=2, needs="tracks", paired=True, min_size=16)

# Tolerance: FVD over 256 clips moves by about 10 % between two trainings and two sampling seeds.
for _metric in (
    _i3d("fvd", "FVD", tolerance=0.10, measure=f"{_FRECHET}:fvd"),
    _by_class("cfvd", "cFVD", tolerance=0.10, measure=f"{_FRECHET}:cfvd"),
    _by_class("cfvd_spread", "spread of cFVD", tolerance=0.25, measure=f"{_FRECHET}:cfvd_spread"),
    _i3d("kvd", "KVD", digits=2, unbiased=True, measure="lamd.metrics.kernel:kvd"),
    *(
        _overlap(name, f"I3D {name}", measure=f"lamd.metrics.manifold:{name}", min_clips=k + 1)
        for name, k in {"precision": 3, "recall": 3, "density": 5, "coverage": 5}.items()
    ),
    Metric("fvd-counted", "FVD, given frame counted", digits=1, tolerance=0.10),
    _paired("psnr", "PSNR", digits=2, unit="dB", tolerance=0.03, measure=f"{_FRAMES}:psnr"),
    # min_size: its window
    _paired("ssim", "SSIM", tolerance=0.02, measure=f"{_FRAMES}:ssim", min_size=11),
    Metric("lpips", "LPIPS"),
    _alex(
        "lpips-alex",
        "LPIPS-alex",
        tolerance=0.15,
        paired=True,
        measure=f"{_FRAMES}:lpips_distance",
    ),
    # From a repeated frame to a reconstruction, vgg falls by half as much as alex (CATER-GEN-v2,
    # 64x64: 0.113 to 0.064, 0.089 to 0.029).
    _vgg("lpips-vgg", "LPIPS-vgg", tolerance=0.08, paired=True, measure=f"{_FRAMES}:lpips_vgg"),
    Metric(
        "fid",
        "FID",
        digits=2,
        tolerance=0.10,
        measure=f"{_FRECHET}:fid",
        needs="inception",
        min_clips=2,
        weights=("inception",),
    ),
    *(
        _captions(
            f"{kind}_{score}",
            f"{kind.replace('_', '-')} {score}",
            measure=f"lamd.metrics.precision:{kind}_{score}",
            tolerance=tolerance,
        )
        for score, tolerance in (("precision", 0.05), ("recall", None))
        for kind in ("action", "referring_expression")
    ),
    _alex(
        "diversity",
        "diversity, LPIPS-alex",
        higher_is_better=True,
        measure=f"{_FRAMES}:diversity",
        sampled_only=True,
    ),
    _percent(
        "smoothness",
        "smoothness, linear",
        digits=2,
        higher_is_better=None,  # a clip that stands still has 100
        measure=f"{_FRAMES}:smoothness",
        min_frames=3,
    ),
    _flow("motion", "amount of motion", higher_is_better=None, measure=f"{_MOTION}:motion_amount"),
    _flow("flow_histogram", "flow histogram", measure=f"{_MOTION}:flow_histogram"),
    *(
        _tracked(name, name.replace("_", " "), unit=unit, measure=f"lamd.metrics.trajectory:{name}")
        for name, unit in {"trajectory_error": "px", "colour_error": "ΔE"}.items()
    ),
    _percent("motion_smoothness_percent", "motion smoothness"),
    Metric("reconstruction_fvd", "reconstruction FVD", digits=1),
    Metric("generation_fvd", "generation FVD", digits=1),
):
    register(_metric)
