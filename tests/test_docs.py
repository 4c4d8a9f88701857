"""Documentation: links and anchors have a target, and the first values are the committed ones."""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from lamd import cli
from lamd.config import load_target
from lamd.forecast.step import count_step
from lamd.report.results import read_results

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README_LINES = 160


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def links(page: Path) -> list[str]:
    """Return the relative links and images of a page, code blocks aside."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub forms them."""
    text = re.sub(
        r"\[([^]]*)\]\([^)]*\)", r"\1", page.read_text(encoding="utf-8")
    )  # links as shown
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_links_exist(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name(page)}: {link}: no such file; correct the link"
        if anchor:
            assert anchor in anchors(linked), f"{name(page)}: {link}: no such heading"


def test_index_links_every_page():
    linked = {link.partition("#")[0] for link in links(ROOT / "docs" / "README.md")}
    assert {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"} <= linked


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_readme_shows_the_committed_values():
    results = read_results(ROOT / "results" / "table_bair" / "standard" / "record.json")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| (.*?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, flags=re.M)
    rows = ("another_future", "copy_first_frame", "reconstruction", "lamd")
    assert len(shown) == len(rows)
    for row, (_, *texts) in zip(rows, shown, strict=True):
        for metric, printed in zip(("fvd", "kvd", "psnr"), texts, strict=True):
            (value,) = {v.value for v in results.values if (v.row, v.metric) == (row, metric)}
            assert f"{value:.{len(printed.partition('.')[2])}f}" == printed, (row, metric)


def test_docs_show_the_committed_costs():
    results = read_results(ROOT / "results" / "table_sampling_cost" / "quick" / "record.json")
    page = (ROOT / "docs" / "baselines-and-cost.md").read_text(encoding="utf-8")
    text = " ".join(page.split())

    def cost(row: str, point: str, part: str, metric: str) -> float:
        at = (row, point, part, metric)
        return next(v.value for v in results.values if (v.row, v.point, v.part, v.metric) == at)

    def ratio(metric: str) -> float:
        theirs, ours = (
            cost(row, "16x64", "step", metric) for row in ("pixel-full", "latent-motion")
        )
        return theirs / ours

    def growth(part: str, metric: str) -> float:
        late, early = (cost("latent-motion", at, part, metric) for at in ("128x32", "16x32"))
        return late / early

    flops, seconds = ratio("flops"), ratio("seconds")
    assert f"costs {flops:.0f} times LaMD's FLOPs and {seconds:.0f} times its time" in text
    assert f"LaMD's step stays the same ({growth('step', 'seconds'):.2f} times)" in text
    assert f"sampling run takes {growth('run', 'seconds'):.2f} times as long" in text
    assert f"with {growth('run', 'flops'):.1f} times the FLOPs" in text


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words after `lamd` of each command on a page; placeholders are in capitals."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.M | re.S)
    inline = re.findall(r"(?<!`)`((?:lamd|\./reproduce\.sh) [^`]*)`", re.sub(r"\s+", " ", text))
    for line in (*"".join(blocks).splitlines(), *inline):
        match = re.search(r"(?:^|-m )(lamd|\./reproduce\.sh) (.*)", line)
        if match and not re.search(r"[\[<|]\w*[A-Z]|\.\.\.", match[2].split("--set")[0]):
            words = shlex.split(match[2], comments=True)
            if words[:1] != ["test"]:
                yield words if match[1] == "lamd" else ["reproduce", *words]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_documented_commands_exist(page):
    for words in commands(page):
        command, rest = typer.main.get_command(cli.app), list(words)
        while hasattr(command, "commands") and not rest[0].startswith("--"):
            assert rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, words
        target = rest[0] if rest and "target" in [p.name for p in command.params] else ""
        if re.fullmatch(r"(table|fig|ablation|seeds)_[a-z0-9_]+", target) and "_my_" not in target:
            pairs = [*pairwise(rest)]
            sets = [value for option, value in pairs if option == "--set"]
            sets += [f"rows=[{value}]" for option, value in pairs if option == "--rows"]
            if page.stem != "extending":
                load_target(target, dict(pairs).get("--profile", "quick"), sets)


STAGES = {"MCD-VAE": "vae", "DMG": "dmg", "pixel space": "pixel"}
MEMORY = re.findall(
    r"^\| (BAIR|Landscape|MUG), ([^|]+) \| ([\d.]+) \| ([\d.]+) \|$",
    (ROOT / "docs" / "baselines-and-cost.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize(
    ("table", "network", "plain", "checkpointed"),
    [pytest.param(*row, marks=[] if row[0] == "BAIR" else [pytest.mark.slow]) for row in MEMORY],
)
def test_memory_of_a_paper_step_is_as_documented(table, network, plain, checkpointed):
    stage = STAGES[network]
    for switch, written in (("false", plain), ("true", checkpointed)):
        options = [f"runtime.gradient_checkpointing={switch}"]
        target = load_target(f"table_{table.lower()}", "paper", options)
        counted = count_step(target, stage, stage == "vae").memory
        assert counted / 1e9 == pytest.approx(float(written), abs=0.055)


def test_the_table_of_memory_is_found():
    assert len(MEMORY) == 6
