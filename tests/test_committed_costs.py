"""The committed costs of `table_sampling_cost` and `fig_cost_vs_frames`, counted again."""

from functools import cache
from pathlib import Path

import pytest

from lamd.config import SamplingCost
from lamd.paradigms.untrained import sampling_costs
from lamd.report.results import read_results

costs_of = cache(sampling_costs)  # the figure and the table share their shapes
RESULTS = Path(__file__).parent.parent / "results"


@pytest.mark.parametrize("target", ["table_sampling_cost", "fig_cost_vs_frames"])
def test_sampling_costs_equal_the_committed_ones(target):
    results = read_results(RESULTS / target / "quick/record.json")
    config = results.config
    if "sources" in config:
        (config,) = config["sources"].values()
    table = SamplingCost.model_validate(config)
    counted = 0
    for value in results.values:
        if value.metric in ("flops", "activations", "parameters") and value.part != "run":
            point = results.points[value.point]
            costs = costs_of(value.row, table.widths, batch=table.batch_size, **point)
            assert value.value == getattr(costs[value.part], value.metric)
            counted += 1
    assert counted == len(results.points) * len(results.rows) * 9  # 3 parts, 3 metrics
