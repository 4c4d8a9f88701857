"""What comes from outside reaches terminals, records, tables, pages and figures as plain text."""

import errno
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import rich.progress  # noqa: F401  before a test replaces the clock that it imports
from markdown_it import MarkdownIt
from small_results import make_results, make_sweep

from lamd import cli
from lamd.base.files import readable_json
from lamd.base.progress import Progress, track
from lamd.base.terminal import printable, say
from lamd.cli.output import print_lines, print_table
from lamd.report import plots
from lamd.report.frame import to_csv
from lamd.report.media import comparison_grid
from lamd.report.results import MissingValue, Results, RowInfo
from lamd.report.sweep import render_sweep
from lamd.report.tables import document, latex, markdown, render_table
from lamd.report.terminal import terminal_table
from lamd.targets import reproduce as run
from lamd.training.log import TrainingLog

UNDECODABLE = os.fsdecode(b"\xff")
HOSTILE = (
    "a [/b] :bug: $\\nosuch$ \x1b[2J \x9b \u202e \u2066 \u200f \u200b \u2028 \r\n <b> | % &#8238;"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31m\r\n", r"\x1b[31m\r\n"),
        ("\x9b\x7f", r"\x9b\x7f"),
        ("\u202e\u2066\u200e\u200f", r"\u202e\u2066\u200e\u200f"),
        ("\u200b\ufeff\u2028\u2029", r"\u200b\ufeff\u2028\u2029"),
        (UNDECODABLE, r"\udcff"),
        ("Größe β → 動画 [a] 'b' \"c\"", "Größe β → 動画 [a] 'b' \"c\""),
    ],
)
def test_printable_shows_what_a_terminal_would_obey(text, expected):
    assert printable(text) == expected


def test_lines_are_single_and_printable(capsys):
    say("a.yaml: not YAML\n  (\x1b]0;title\x07); fix it")
    print_lines("a\n\x1b[2J", UNDECODABLE)
    say("x" * 5000 + ": no such file; fix the name")
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert first == "lamd: a.yaml: not YAML (\\x1b]0;title\\x07); fix it"
    assert second.endswith("x: no such file; fix the name") and len(second) < 1020
    assert out == "a\\n\\x1b[2J\n\\udcff\n"


def test_tables_and_bars_show_markup_as_text(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    print_table(["[/b]"], [["[red]x"], [":bug: \x1b[2J"]], "a [/b] \u202e")
    assert list(track([1, 2], "b [/b] \x1b[2J")) == [1, 2]
    out, err = capsys.readouterr()
    for text in ("[/b]", "[red]x", ":bug: \\x1b[2J", "a [/b] \\u202e"):
        assert text in out
    assert "b [/b] \\x1b[2J" in err


def test_training_log_shows_markup_as_text(tmp_path, capsys):
    log = TrainingLog(tmp_path, name="vae [/b]", start=0, total=1, enabled=True)
    log.say("vae [/b] :bug: \x1b[2J")
    assert capsys.readouterr().err == "vae [/b] :bug: \\x1b[2J\n"


def test_a_full_disk_is_one_line(capsys, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli.app.registered_commands[0], "callback", full)
    with pytest.raises(SystemExit) as stop:
        cli.main(["list"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "lamd: writing: No space left on device; make room and run it again\n"
    )


def test_a_closed_pipe_is_no_failure():
    command = f"{sys.executable} -m lamd list | true; exit ${{PIPESTATUS[0]}}"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0


def test_an_unexpected_error_is_a_printable_traceback(capsys, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("\x1b[2J")

    monkeypatch.setattr(run, "train", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "table_bair", "--stage", "vae"])
    err = capsys.readouterr().err
    assert ended.value.code == 1
    assert err.startswith("Traceback") and err.endswith("RuntimeError: \\x1b[2J\n")


def test_a_terminal_without_the_letters_gets_escapes():
    done = subprocess.run(
        [sys.executable, "-m", "lamd", "show", "table_bair", "--set", "title=β"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert rb"title: \u03b2" in done.stdout


def test_readable_json_escapes_what_is_not_printable():
    value = {"é β": ["\x9b\u202e\n", "\U000e0041", UNDECODABLE]}
    text = readable_json(value)
    assert text.replace("\n", "").isprintable() and "é β" in text
    assert json.loads(text) == value


def test_records_with_any_text_are_read_back():
    missing = MissingValue(source="bair", row="reconstruction", reason=f"{UNDECODABLE}.png")
    assert missing.reason == r"\udcff.png"
    results = make_results(title=HOSTILE, missing=(missing,))
    assert Results.model_validate_json(results.to_json()) == results


MARKDOWN = (
    "<b>x</b>", "<https://x.org>", "[x](https://x.org)", "![x](https://x.org/y.png)", "[x][y]",
    "[x]: https://x.org", "&#8238;", "&lt;", "*a* __b__ ~~c~~", r"\*a\* \[", "a_b_c _d_", "a | b",
    r"a \| b",    "a\n\n# b", "# a", "- a", "+ a", "> a", "A & B, 1.0 [0.9, 1.1], a <= b",
)  # fmt: skip


@pytest.mark.parametrize("text", MARKDOWN)
def test_markdown_shows_any_text_as_it_is(text):
    table = pd.DataFrame({text: [text, "-"]})
    page = document(text, text, {text: table}, [text])
    inline = [t for t in MarkdownIt().enable(["table", "strikethrough"]).parse(page) if t.children]
    shown = ["".join(part.content for part in token.children) for token in inline]
    assert shown == [*[printable(text)] * 5, "-", printable(text)]
    assert {part.type for token in inline for part in token.children} == {"text"}


def test_markdown_keeps_code():
    assert markdown("`fvd.bair.v1`: [1, 2]") == "`fvd.bair.v1`: [1, 2]"


@pytest.mark.parametrize("text", ["A_B & C", "50% of $5", "#1 {x}", "-1.0 [-2.0, 3.0]"])
def test_latex_escapes_as_pandas_does(text):
    assert f"\n{latex(text)} \\\\\n" in pd.DataFrame([text]).to_latex(index=False, escape=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("~^<>|", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"),
        ("FVD ↓, β²", r"FVD $\downarrow$, $\beta$$^2$"),
        ("[1] x", "{}[1] x"),
        ("* x", "{}* x"),
        ("a\n\\end", r"a\textbackslash{}n\textbackslash{}end"),
    ],
)
def test_latex_sets_any_text_as_it_is(text, expected):
    assert latex(text) == expected


def test_csv_has_no_formulas_and_keeps_numbers():
    texts = [
        "=1+1",
        "+cmd|x",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "＝1",
        "-",
        "-1.5",
        "+1e-3",
        "a=b",
    ]
    frame = pd.DataFrame({"=text": texts, "number": range(0, -len(texts), -1)})
    read = pd.read_csv(io.BytesIO(to_csv(frame)))
    assert list(read.columns) == ["'=text", "number"]
    assert list(read["number"]) == list(frame["number"])
    assert list(read["'=text"]) == [
        "'=1+1", "'+cmd|x", "'-2+3", "'@SUM(A1)", r"\t=1", r"\r=1", "'＝1", "'-", "-1.5", "+1e-3",
        "a=b",
    ]  # fmt: skip


@pytest.mark.parametrize("title", ["a $x", "a $x$", r"$\nosuch$", r"\$a $$"])
def test_figures_draw_formulas_as_text(title):
    def draw(**changes) -> bytes:
        with plots.canvas(title, 1.0) as figure:
            if changes:
                figure.suptitle(title, weight="bold", size=10.5, **changes)
            return plots.save(figure)

    assert draw() == draw(parse_math=False)


def test_pictures_show_control_characters():
    clips = np.zeros((1, 2, 8, 8, 3), np.uint8)
    shown = comparison_grid({r"a\x1b": clips}, r"\udcff \u202e")
    assert np.array_equal(comparison_grid({"a\x1b": clips}, f"{UNDECODABLE} \u202e"), shown)


def test_results_with_hostile_texts_are_rendered_and_printed(capsys):
    rows = tuple(
        RowInfo(name=n, label=HOSTILE, description=HOSTILE) for n in ("lamd", "reconstruction")
    )
    missing = MissingValue(source="bair", row="reconstruction", reason=f"{HOSTILE} {UNDECODABLE}")
    table = make_results(title=HOSTILE, rows=rows, missing=(missing,), notes=(HOSTILE,))
    files = render_table(table)
    assert files["fvd_by_row.png"].startswith(b"\x89PNG")
    points = {
        name: at | {"vae.motion_channels": f"{HOSTILE} {at['vae.motion_channels']}"}
        for name, at in make_sweep().points.items()
    }
    sweep = make_sweep(title=HOSTILE, points=points)
    assert render_sweep(sweep)["curves.png"].startswith(b"\x89PNG")
    for results in (table, sweep):
        header, lines, words = terminal_table(results)
        print_table(header, lines, results.title)
        print_lines(*words)
    texts = [files[name].decode() for name in ("table.md", "table.tex", "values.csv")]
    for text in (*texts, *capsys.readouterr()):
        assert text.replace("\n", "").isprintable()


def test_progress_without_a_terminal_is_a_line_per_minute(capsys, monkeypatch):
    clock = iter([0.0, 59.0, 61.0, 100.0, 130.0])
    monkeypatch.setattr("lamd.base.progress.time.monotonic", lambda: next(clock))
    with Progress("vae [/b]", 500, start=100, unit="steps") as progress:
        for done in (159, 161, 200, 230):
            progress.advance(done, f"loss {done}")
    assert capsys.readouterr().err.splitlines() == [
        "lamd: vae [/b]: 161/500, 1 steps/s  loss 161, 6 min left",
        "lamd: vae [/b]: 230/500, 1 steps/s  loss 230, 4 min left",
    ]


def test_the_rate_is_that_of_the_last_steps(capsys, monkeypatch):
    clock = iter([0.0, 50.0, 100.0, 150.0, 200.0])
    monkeypatch.setattr("lamd.base.progress.time.monotonic", lambda: next(clock))
    with Progress("vae", 1050, unit="steps") as progress:
        for done in (500, 1000, 1010, 1020):
            progress.advance(done)
    assert (
        capsys.readouterr().err.splitlines()[-1] == "lamd: vae: 1020/1050, 0.2 steps/s, 2 min left"
    )


def test_progress_on_a_terminal_has_rate_and_remaining_time(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with Progress("vae", 4, unit="steps") as progress:
        time.sleep(0.2)
        progress.advance(2, "loss 1")
    err = capsys.readouterr().err
    assert "2/4" in err and "steps/s  loss 1" in err and "-:--:--" not in err.splitlines()[-1]


def test_progress_of_unnamed_work_is_not_shown(capsys, monkeypatch):
    monkeypatch.setattr("lamd.base.progress.EVERY", 0.0)
    assert list(track(iter("ab"), None)) == ["a", "b"]
    assert capsys.readouterr().err == ""
