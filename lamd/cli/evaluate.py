"""`lamd evaluate` and `lamd evaluate-captions`: metrics without training or config."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamd.base.files import check_output, readable_json, write_output
from lamd.cli.options import Device
from lamd.cli.output import print_lines, print_table

if TYPE_CHECKING:
    from lamd.metrics.values import MetricValue


def evaluate(
    real: Annotated[Path, typer.Option(help=".npy of uint8 (N, L, H, W, 3), or a folder.")],
    fake: Annotated[Path, typer.Option(help="Likewise, of the same shape.")],
    metrics: Annotated[str, typer.Option(help="Comma-separated.")] = (
        "fvd,lpips-alex,lpips-vgg,psnr,ssim"
    ),
    samples: Annotated[
        int | None, typer.Option(min=1, help="Fake clips per real clip, one after the other.")
    ] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", help="Write the values here; -: print them as JSON.")
    ] = None,
    device: Device = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips or frames at a time; fewer need less memory.")
    ] = None,
) -> None:
    """Measure fake clips against real ones; needs no training and no config."""
    from lamd import evaluate

    as_json = json_ == Path("-")
    if json_ is not None and not as_json:
        check_output(json_)
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    measured = evaluate.measure_paths(
        real, fake, names, samples=samples, device=device, batch_size=batch_size
    )
    values: list[MetricValue] = []
    try:
        values.extend(measured)  # one by one: an interrupted run keeps those that it finished
    finally:
        if values:
            try:
                if json_ is not None:  # before the table: a closed pipe must not lose it
                    report = readable_json(evaluate.to_json(real, fake, values, device, names))
                    if as_json:
                        sys.stdout.write(report)
                    else:
                        write_output(json_, report)
            finally:
                if not as_json:
                    _print_values(values)


def evaluate_captions(
    true: Annotated[Path, typer.Option(help="JSON list of the true captions.")],
    generated: Annotated[Path, typer.Option(help="JSON list of the generated clips' captions.")],
) -> None:
    """Score any captioner's captions of generated clips: action and referring-expression scores."""
    from lamd import evaluate

    _print_values(evaluate.evaluate_captions(true, generated))


def _print_values(values: Sequence["MetricValue"]) -> None:
    rows = []
    for value in values:
        number = f"{value.value:.4f} {value.unit}".rstrip()
        interval = "[{:.4g}, {:.4g}]".format(*value.interval) if value.interval else "-"
        limit = "-" if value.extrapolated is None else f"{value.extrapolated:.4f}"
        counts = str(value.n_real), str(value.n_fake)
        rows.append([value.protocol, number, interval, limit, *counts])
    print_table(["protocol", "value", "95 % interval", "N→∞", "n real", "n fake"], rows)
    for value in values:
        for remark in filter(None, (value.note, *value.deviations)):
            print_lines(f"{value.protocol}: {remark}")
