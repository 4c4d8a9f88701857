"""The metrics that a table can have as columns; adding one is one `register` call."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Everything that any layer asks about a metric.

    Attributes:
        name: of the column, and first part of its protocols' names.
        label: for people, without an arrow.
        digits: decimals shown.
        unit: "" for none.
        higher_is_better: direction of the arrow.
        tolerance: relative distance to a published value that still counts as reproduced; None
            where published values do not exist.
    """

    name: str
    label: str
    digits: int = 3
    unit: str = ""
    higher_is_better: bool = False
    tolerance: float | None = None

    @property
    def heading(self) -> str:
        """The label with an arrow towards better values."""
        return f"{self.label} {'↑' if self.higher_is_better else '↓'}"


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Add a metric under its name."""
    METRICS[metric.name] = metric
    return metric


# Tolerance: FVD over 256 clips moves by about 10 % between two trainings and two sampling seeds.
for _metric in (
    Metric(name="fvd", label="FVD", digits=1, tolerance=0.10),
    Metric(name="cfvd", label="cFVD", digits=1, tolerance=0.10),
    Metric(name="cfvd_spread", label="spread of cFVD", digits=1, tolerance=0.25),
    Metric(name="fvd-counted", label="FVD, given frame counted", digits=1, tolerance=0.10),
    Metric(name="psnr", label="PSNR", digits=2, unit="dB", higher_is_better=True, tolerance=0.03),
    Metric(name="ssim", label="SSIM", higher_is_better=True, tolerance=0.02),
    Metric(name="lpips", label="LPIPS", tolerance=0.15),
    Metric(name="lpips-alex", label="LPIPS-alex", tolerance=0.15),
    Metric(name="lpips-vgg", label="LPIPS-vgg", tolerance=0.15),
    Metric(name="fid", label="FID", digits=2, tolerance=0.10),
    Metric(
        name="action_precision", label="action precision", higher_is_better=True, tolerance=0.05
    ),
    Metric(
        name="referring_expression_precision",
        label="referring-expression precision",
        higher_is_better=True,
        tolerance=0.05,
    ),
    Metric(name="diversity", label="diversity, LPIPS-alex", higher_is_better=True),
    Metric(
        name="smoothness", label="smoothness, linear", digits=2, unit="%", higher_is_better=True
    ),
    Metric(
        name="motion_smoothness_percent", label="motion smoothness", unit="%", higher_is_better=True
    ),
    Metric(name="reconstruction_fvd", label="reconstruction FVD", digits=1),
    Metric(name="generation_fvd", label="generation FVD", digits=1),
):
    register(_metric)
