"""The wording that tables, figures and captions share."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lamd.config import SAMPLERS
from lamd.config.sweep import VARIANT
from lamd.data.dataset import DATASETS
from lamd.metrics.registry import METRICS
from lamd.report.results import Column, Results, Source

SYMBOLS = {  # the paper's, of config keys
    "vae.motion_channels": "d",
    "loss.kl_weight": "β",
    "vae.temporal_downsampling": "f_t",
    "vae.spatial_downsampling": "f_s",
    "sampler.num_steps": "K",
}
ROWS = {  # of a figure over cost
    "lamd": "LaMD",
    "pixel_clips": "pixel space, budget in clips",
    "pixel_flops": "pixel space, budget in FLOPs",
    "latent_video_clips": "latent video, budget in clips",
    "latent_video_flops": "latent video, budget in FLOPs",
}


def capitalized(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]


def symbols(keys: Sequence[str]) -> list[str]:
    """Return the paper's symbols of config keys, or their last parts; keys where two share one."""
    short = [SYMBOLS.get(key) or key.rpartition(".")[2].replace("_", " ") for key in keys]
    return [own if short.count(own) == 1 else key for key, own in zip(keys, short, strict=True)]


def setting(value: Any) -> str:
    """Return a value of a config as its YAML has it, e.g. `null`."""
    return json.dumps(value) if value is None or isinstance(value, bool | dict) else str(value)


def coordinates(axes: Sequence[str], position: Sequence[Any]) -> dict[str, str]:
    """Return the settings of a position by the symbols of its axes."""
    return dict(zip(symbols(axes), map(setting, position), strict=True))


def axis_keys(axes: Sequence[str]) -> list[str]:
    """Return e.g. `d: vae.motion_channels, β: loss.kl_weight`, if there are any."""
    keys = [axis for axis in axes if axis != VARIANT]
    pairs = zip(symbols(keys), keys, strict=True)
    return [", ".join(f"{own}: `{key}`" for own, key in pairs)] if keys else []


def heading(metric: str) -> str:
    """Return e.g. `FVD ↓`; `16 frames (s)` of the published seconds `frames16`."""
    if metric.startswith("frames"):
        return f"{metric.removeprefix('frames')} frames (s)"
    return METRICS[metric].heading if metric in METRICS else metric.replace("_", " ")


def column_heading(column: Column) -> str:
    """Return e.g. `reconstruction FVD ↓`."""
    row = ROWS.get(column.row, column.row.replace("_", " "))
    return f"{row}{',' * (',' in row)} {heading(column.metric)}".strip()


def has_intervals(results: Results, metric: str) -> bool:
    """Return whether any value of a metric has an interval."""
    return any(v.low is not None for v in results.values if v.metric == metric)


def point_name(row: str, sampler: str, num_steps: int) -> str:
    """Return e.g. `LaMD, DDIM, K = 200`."""
    return f"{ROWS.get(row, row)}, {SAMPLERS[sampler].label}, K = {num_steps}"


def dataset_label(name: str) -> str:
    """Return the display name of a data set, its own name where it is not registered."""
    return DATASETS[name].label if name in DATASETS else name


def data_words(source: Source) -> str:
    """Return e.g. `simulated stand-in for BAIR`."""
    label = dataset_label(source.dataset)
    return f"real {label}" if source.data == "real" else f"simulated stand-in for {label}"


def sources_words(results: Results) -> str:
    """Return the data of all sources, and their scale when it is the same."""
    words = " + ".join(dict.fromkeys(data_words(source) for source in results.sources.values()))
    scales = {source.scale for source in results.sources.values()}
    return f"{words}, {scales.pop()} scale" if len(scales) == 1 else words


def figure_title(results: Results, title: str) -> str:
    """Return a title that says that data are simulated, also where the caption is cut off."""
    simulated = any(source.data == "stand-in" for source in results.sources.values())
    return f"{title}{' (simulated stand-in)' * simulated}"


def measured_heading(results: Results) -> str:
    """Return the heading of the block of our own values."""
    return f"Measured here: {sources_words(results)}"


def published_heading(results: Results) -> str:
    """Return the heading of the block of values from papers."""
    names = dict.fromkeys(dataset_label(source.dataset) for source in results.sources.values())
    return f"Published: real {' + '.join(names)}, taken from papers, not measured here"


def machine_words(measured: Mapping[str, str]) -> str:
    """Return the device, threads, PyTorch, precision and date of measured times."""
    return (
        f"{measured['device']}, {measured['threads']} CPU thread"
        f"{'s' * (measured['threads'] != '1')}, PyTorch {measured['torch']}, {measured['dtype']}, "
        f"{measured['date']}"
    )


def code_words(results: Results) -> str:
    """Return the config and the commits behind results."""
    commits = sorted({c.origin.commit[:12] for c in results.cells if c.origin.commit})
    dirty = " with local changes" if any(c.origin.dirty for c in results.cells) else ""
    return f"config `{results.config_hash}`, commit {', '.join(commits) or 'unknown'}{dirty}"


def provenance(results: Results) -> str:
    """Return the profile with what was set otherwise, the config and the commits behind results."""
    changed = "".join(f", `--set {override}`" for override in results.overrides)
    return f"profile `{results.profile}`{changed}, {code_words(results)}"


def caption(results: Results, common: Iterable[str] = ()) -> str:
    """Return one line: data, what all rows have in common, profile, config and code."""
    words = ", ".join((sources_words(results), *common))
    return f"{capitalized(words)}; {provenance(results)}."
