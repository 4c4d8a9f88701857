import numpy as np
import pytest

from lamd.pipeline.steps.values import FEATURES, read_values, row_values


@pytest.mark.parametrize(("num_frames", "told"), [(16, False), (12, True)])
def test_a_protocols_number_of_frames_is_checked(tmp_path, num_frames, told):
    inputs = {}
    for seed, name in enumerate(("features test", "features lamd")):
        inputs[name] = tmp_path / name
        inputs[name].mkdir()
        rows = np.random.default_rng(seed).normal(size=(6, 400)).astype(np.float32)
        np.save(inputs[name] / FEATURES, rows)
    row_values(tmp_path, inputs, row="lamd", protocols=["fvd.bair.v1"], num_frames=num_frames,
               samples=1, device="cpu")  # fmt: skip
    (value,) = read_values(tmp_path)
    assert ("12 frames, the protocol asks for 16" in value["deviations"]) == told
