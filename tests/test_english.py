"""The English of code, messages, experiments and documentation: words to avoid, and better ones."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = sorted(ROOT.glob("lamd/**/*.py"))
DATA = sorted([*ROOT.glob("experiments/*.yaml"), ROOT / "reproduce.sh"])
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TESTS = sorted([*ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py")])

_COUNTED = (
    r"seconds|ms|minutes|hours|[KMGT]?FLOPs|[kMG]i?B|PSNR|SSIM|LPIPS|once|twice|rows|lines|clips|"
    r"samples|values|steps|frames|images|videos|predictions|channels|tokens|bytes|numbers|"
    r"one (?:row|line|clip|value|sample|step|frame|picture|folder|file|noise|number|call)"
)
_UNIT = (
    r"clip|step|row|class|frame|video|trajectory|point|cell|core|condition|channel|batch|process|"
    r"layer|group|seed|source|set|sample|pixel|position|element|table|target|block|second"
)
RULES = {
    rf"\b(?:{_COUNTED}) an? (?:{_UNIT})\b(?! (?:is|has|was)\b)": "per",
    r"\b(?:tells?|told|untold|telling)\b": "report, say, show, specify; distinguish; cond, uncond",
    r"\b(?:mend|mends|mended|mending)\b": "fix, hint",
    r"\bbeside\b": "next to, in addition to, with",
    r"\banew\b": "again",
    r"\bof (?:its|their|his) own\b": "its own, their own, own",
    r"\bas (?:they|it) (?:were|was)\b(?! \w+(?:ed|en|t)\b)": "unchanged",
    r"\b(?:stands?|stood)\b(?!-| (?:for|in for|still)\b)": "is, is listed, is stored, appears",
    r"\b(?:lies|lie)\b(?! (?:within|close|in [\[(]))": "is stored, is, are",
    r"\(ours\)|^ours\b": "no tag: ours is the default; tag only paper and reported",
}
FIRST_WORDS = r"(?:What|Which|Where|How|Who|Whose)\b"
VARIABLES = {"one", "each", "found", "told", "shown", "place", "who"}

Phrase = tuple[int, str]  # line, text


def wrong_phrases(phrases: Iterator[Phrase]) -> list[str]:
    """Return `line: phrase -> better words` for each match; code in backticks is skipped."""
    problems = []
    for line, text in phrases:
        prose = re.sub(r"`[^`\n]*`", lambda code: "_" * len(code.group()), text)
        for rule, better in RULES.items():
            for match in re.finditer(
                rule.replace(" ", r"\s+"), prose, re.IGNORECASE | re.MULTILINE
            ):
                at = line + prose.count("\n", 0, match.start())
                problems.append(f"{at}: {' '.join(match.group().split())!r} -> {better}")
    return problems


def code_phrases(path: Path) -> Iterator[Phrase]:
    """Yield comments and all strings with a space in them, docstrings and messages among these."""
    joined: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "_" for v in node.values]
            yield node.lineno, "".join(map(str, parts))
            joined |= {id(value) for value in node.values}
        elif id(node) in joined:
            continue
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    yield from comments(path)


def comments(path: Path) -> Iterator[Phrase]:
    """Yield the comments of a Python file; those on successive lines are one phrase."""
    block, first, last = "", 0, -1
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type != tokenize.COMMENT:
                continue
            if token.start[0] == last + 1:
                block += "\n" + token.string.lstrip("# ")
            else:
                yield first, block
                block, first = token.string.lstrip("# "), token.start[0]
            last = token.start[0]
    yield first, block


def data_phrases(path: Path) -> Iterator[Phrase]:
    """Yield the comments and titles of a YAML or shell file."""
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        for match in re.finditer(r"(?:^|\s)#\s*(.*)$|title:\s*(.*)$", line):
            yield number, match.group(1) or match.group(2) or ""


def page_phrases(path: Path) -> Iterator[Phrase]:
    """Yield a Markdown page without its code blocks."""
    text = path.read_text(encoding="utf-8")
    yield 1, re.sub(r"^```.*?^```", lambda m: "\n" * m.group().count("\n"), text, flags=re.M | re.S)


def bad_names(tree: ast.AST) -> Iterator[str]:
    """Yield variable names, upper-case labels and beginnings of docstrings to avoid."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node) or ""
            if match := re.match(FIRST_WORDS, docstring):
                line = node.body[0].lineno
                yield f"{line}: docstring begins {match.group()!r} -> name the thing"
        name = node.arg if isinstance(node, ast.arg) else ""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        if name in VARIABLES:
            yield f"{node.lineno}: variable {name!r} -> name the thing: cell, row, device, metric"
        # text[0].upper() begins a sentence
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "upper"
            and not isinstance(node.value, ast.Subscript)
        ):
            yield f"{node.lineno}: '.upper()' -> a display name from a registry"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def report(path: Path, problems: list[str]) -> None:
    assert not problems, "\n".join(["", *(f"{name(path)}:{problem}" for problem in problems)])


@pytest.mark.parametrize("path", CODE, ids=name)
def test_code_english(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    report(path, [*wrong_phrases(code_phrases(path)), *bad_names(tree)])


@pytest.mark.parametrize("path", DATA, ids=name)
def test_experiment_english(path):
    report(path, wrong_phrases(data_phrases(path)))


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_page_english(path):
    report(path, wrong_phrases(page_phrases(path)))


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_test_names_english(path):
    names = r"def (test_what_\w+|test_\w*_(?:told|tells?|holes?)(?:_\w+)?)\b"
    tests = re.finditer(names, path.read_text(encoding="utf-8"))
    report(path, [f"{match.group(1)} -> test_<unit>_<behaviour>" for match in tests])


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("It takes three seconds a\nclip.", "seconds a clip"),
        ("Draws one row a point.", "one row a point"),
        ("The error tells why.", "tells"),
        ("files that lie there", "lie"),
        ("A table stands in the folder.", "stands"),
        ("the rest is as it was", "as it was"),
    ],
)
def test_rules_match_wrong_english(text, phrase):
    assert any(repr(phrase) in problem for problem in wrong_phrases(iter([(1, text)])))


@pytest.mark.parametrize(
    "text",
    [
        "The mean stands in for the network; d stands for channels.",
        "The simulated stand-in lies within the interval.",
        "Names such as `told.json` are code.",
        "Once a clip is decoded, its frames are resized.",
        "Seconds per clip, as it was measured; values lie in [0, 1].",
    ],
)
def test_rules_pass_right_english(text):
    assert wrong_phrases(iter([(1, text)])) == []
