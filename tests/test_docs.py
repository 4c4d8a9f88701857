"""Documentation: every relative link and image is a file, every anchor a heading."""

import re
from pathlib import Path

import pytest

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
