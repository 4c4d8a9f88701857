"""Small inputs that state, or stand for, something huge: refused at once, in one line."""

import pytest

from lamd.base.errors import LamdError
from lamd.config import load_target


def refusal(call, *arguments, **options):
    with pytest.raises(LamdError) as error:
        call(*arguments, **options)
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text


def bomb(levels=9, width=9):
    """Write a list of lists of lists, each an alias of the one before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (bomb(), "50,000 values"),
        ("a: &a [1, *a]", "16 levels"),
        ("a: &a {b: *a}", "16 levels"),
        ("? [x]\n: 1", "a key that is no text"),
        ("a: " + "[" * 17 + "]" * 17, "16 levels"),
        ("a: " + "[" * 5000 + "]" * 5000, "not valid YAML"),
        ("a: 0x" + "f" * 9000, "a number of more than 64 characters"),
        ("a: 1" + ":59" * 9000, "a number of more than 64 characters"),
        ("? " + "a" * 2000 + "\n: 1", "no text of at most 1,000 characters"),
        ("a: " + "x" * 2**20, "larger than 1,048,576 bytes"),
    ],
)
def test_load_target_refuses_yaml_that_stands_for_too_much(tmp_path, text, reason):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert reason in refusal(load_target, str(path), "quick")


def test_load_target_takes_an_alias(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {kind: nothing}\nkind: *a")
    assert "kind \"{'kind': 'nothing'}\"" in refusal(load_target, str(tmp_path / "x.yaml"), "quick")


def test_load_target_refuses_files_that_lead_back_or_on_and_on(tmp_path):
    for n in range(20):
        (tmp_path / f"b{n}.yaml").write_text(f"base: b{n + 1}.yaml\n")
    assert "more than 8 files by `base:`" in refusal(load_target, f"{tmp_path}/b0.yaml", "quick")
    (tmp_path / "f.yaml").write_text("kind: figure\ntitle: f\nsources: [f]\n")
    text = refusal(load_target, f"{tmp_path}/f.yaml", "quick")
    assert "kind figure trains nothing itself" in text


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        (".".join("a" * 20_000) + "=1", "more than 16 levels"),
        ("data.num_test=" + "[" * 20 + "]" * 20, "16 levels"),
        ("title=[&a [x], " + "*a, " * 60_000 + "]", "50,000 values"),
        ("data.num_test=0x" + "f" * 9000, "64 characters"),
        ("data.num_frames=1000000000", "data.num_frames"),
        ("data.size=65536", "a clip of 16 frames of 65,536 pixels"),
        ("data.num_train=1000000000", "data.num_train"),
        ("dmg.num_train_steps=1000000000", "dmg.num_train_steps"),
        ("dmg.base_channels=1000000000", "dmg.base_channels"),
        ("dmg.num_res_blocks=1000000", "dmg.num_res_blocks"),
        ("dmg.channel_multipliers=[" + "1, " * 1000 + "]", "dmg.channel_multipliers"),
        ("train_vae.batch_size=1000000000", "train_vae.batch_size"),
        ("train_vae.learning_rate=.inf", "train_vae.learning_rate"),
        ("evaluate.samples_per_clip=1000000000", "evaluate.samples_per_clip"),
    ],
)
def test_load_target_refuses_overrides_of_absurd_size(override, reason):
    assert reason in refusal(load_target, "table_bair", "quick", [override])


@pytest.mark.parametrize(
    "grid",
    [
        "{train_vae.seed: {from: 1, to: 1.0e+9, step: 1.0e-3}}",
        f"{{{', '.join(f'{key}.seed: {{from: 1, to: 999, step: 1}}' for key in 'abcdef')}}}",
        "[" + ", ".join(f"{{train_vae.seed: {n}}}" for n in range(1001)) + "]",
    ],
)
def test_load_target_refuses_sweeps_of_too_many_points(grid):
    text = refusal(load_target, "ablation_motion_capacity", "quick", [f"sweep={grid}"])
    assert "points, at most 1000" in text
