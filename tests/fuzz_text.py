"""Hostile text: experiments in YAML, `--set` and other arguments, captions."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from fuzz_box import EITHER, REFUSED, Attempt, Box

TINY = (Path(__file__).parent / "tiny.yaml").read_text().replace("real_train, ", "")
CONTROL, BIDI, MARKUP = "\x1b[31m", "\u202e", "[/b]"
DIGITS = "9" * 10_000  # more than `int` reads


def changed(key: str, value: str) -> str:
    """Return the tiny experiment with the first line of a key replaced."""
    lines = TINY.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split(":")[0].strip() == key)
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines[at] = f"{indent}{key}: {value}"
    return "\n".join(lines) + "\n"


def bomb(form: str) -> str:
    """Return an alias bomb: 9^12 nodes in about 900 bytes."""
    lines = ["a0: &a0 {x: 1}"]
    for i in range(1, 13):
        alias = f"*a{i - 1}"
        aliases = ", ".join([alias] * 9)
        keys = ", ".join(f"k{j}: {alias}" for j in range(9))
        value = {
            "lists": f"[{aliases}]",
            "mappings": f"{{{keys}}}",
            "merges": f"{{<<: [{aliases}]}}",
        }
        lines.append(f"a{i}: &a{i} {value[form]}")
    return "\n".join(lines) + "\n"


def experiments() -> Iterator[Attempt]:
    """Yield experiments that `lamd show` must refuse."""
    replaced = {
        "control characters in a value": ("camera", f'"{CONTROL}x"'.replace("\x1b", "\\e")),
        "bidirectional mark in a value": ("camera", f'"{BIDI}x"'),
        "line separator in a value": ("camera", '"a\\u2028b"'),
        "surrogate in a value": ("camera", '"\\ud800"'),
        "NUL in a value": ("camera", '"a\\0b"'),
        "markup in a value": ("camera", '"[/b]"'),
        "a value of a megabyte": ("camera", "x" * 1_000_000),
        "python object": ("title", "!!python/object/apply:os.system [touch ../outside/made]"),
        "python name": ("title", "!!python/name:os.system"),
        "python module": ("title", "!!python/module:os"),
        "broken binary": ("title", "!!binary 'not base64!'"),
        "binary": ("title", "!!binary gIGC"),
        "title of a set": ("title", "!!set {a, b}"),
        "ordered map as rows": ("rows", "!!omap [lamd: 1]"),
        "pairs as rows": ("rows", "!!pairs [lamd: 1]"),
        "unknown tag": ("title", "!exec x"),
        "a date that does not exist": ("title", "2001-99-99"),
        "a time zone out of range": ("title", "2001-01-01 00:00:00 +99:99"),
        "a number of 10,000 digits": ("num_train", DIGITS),
        "a hexadecimal number of 10,000 digits": ("num_train", "0x" + DIGITS),
        "a sexagesimal number without end": ("num_train", ":".join(["1"] * 50_000)),
        "infinity as a count": ("num_train", ".inf"),
        "infinity as a rate": ("learning_rate", "1.0e999"),
        "not a number as a rate": ("learning_rate", ".nan"),
        "not a number as a schedule": ("beta_end", ".nan"),
        "a negative rate": ("learning_rate", "-1.0e-3"),
        "a size beyond 64 bits": ("size", str(2**70)),
        "a million frames at a time": ("num_frames", str(2**40)),
        "more channels than memory": ("image_channels", "[1000000000, 8, 16]"),
        "a hundred thousand levels": ("channel_multipliers", f"[{'1, ' * 100_000}1]"),
        "rows without end": ("rows", f"[{'lamd, ' * 100_000}lamd]"),
        "a list that holds itself": ("rows", "&r [*r]"),
        "a mapping that holds itself": ("sampler", "&s {name: *s}"),
        "a row that is a path": ("rows", "[../../outside/secret]"),
        "protocols of control characters": ("evaluate", '{protocols: ["\\e[2J"]}'),
        "published values by a path": ("published", "../../outside/secret"),
        "profiles as a list": ("profiles", "[]"),
        "an unknown kind": ("kind", '"\\e[2J"'),
        "kind as a list": ("kind", "[table]"),
        "title as a list": ("title", "[a]"),
        "a target that climbs": ("title", "tiny\ntarget: ../../outside/made"),
        "an absolute target": ("title", "tiny\ntarget: /outside/made"),
        "a nested target": ("title", "tiny\ntarget: a/b"),
        "a target of dots": ("title", 'tiny\ntarget: ".."'),
        "an empty target": ("title", 'tiny\ntarget: ""'),
        "a target of two lines": ("title", 'tiny\ntarget: "a\\nb"'),
        "a target with NUL": ("title", 'tiny\ntarget: "a\\0b"'),
        "a target too long for a file": ("title", f"tiny\ntarget: {'x' * 300}"),
        "a hidden target": ("title", "tiny\ntarget: .ssh"),
        "a target that is an option": ("title", "tiny\ntarget: -rf"),
        "a base that climbs": ("kind", "table\nbase: ../outside/secret.txt"),
        "an absolute base": ("kind", "table\nbase: /etc/passwd"),
        "a base that is itself": ("kind", "table\nbase: x.yaml"),
        "a base with NUL": ("kind", 'table\nbase: "a\\0b"'),
        "a base that is a list": ("kind", "table\nbase: [a, b]"),
        "a base of control characters": ("kind", 'table\nbase: "\\e[2J"'),
        "a base too long for a file": ("kind", f"table\nbase: {'x' * 5000}"),
        "a key twice": ("kind", "table\nkind: table"),
        "an unknown key of control characters": ("kind", 'table\n"\\e[31m": 1'),
        "an unknown key with a bidirectional mark": ("kind", 'table\n"a\u202eb": 1'),
        "an unknown key of a megabyte": ("kind", f"table\n{'k' * 1_000_000}: 1"),
        "a key that is a list": ("kind", "table\n? [a, b]\n: 1"),
        "a key that is a mapping": ("kind", "table\n? {a: b}\n: 1"),
        "no key": ("kind", "table\n~: 1"),
    }
    texts: dict[str, str | bytes] = {name: changed(*pair) for name, pair in replaced.items()}
    texts |= {
        **{f"alias bomb of {form}": bomb(form) + TINY for form in ("lists", "mappings", "merges")},
        "alias bomb in rows": bomb("lists") + changed("rows", "*a12"),
        "a flow list 100,000 deep": TINY + "x: " + "[" * 100_000 + "]" * 100_000,
        "a flow mapping 5,000 deep": TINY + "x: " + "{a: " * 5000 + "1" + "}" * 5000,
        "a block list 3,000 deep": TINY + "x:\n  " + "- " * 3000 + "1\n",
        "a million numbers": TINY + "x: [" + "1," * 1_000_000 + "]\n",
        "a million keys": TINY + "".join(f"k{i}: 1\n" for i in range(200_000)),
        "UTF-16": TINY.encode("utf-16"),
        "Latin-1": changed("title", '"caf\u00e9"').encode("latin-1"),
        "NUL bytes": TINY.encode().replace(b"tiny", b"ti\0ny"),
        "raw control characters": changed("title", f'"{CONTROL}"'),
        "nothing": "",
        "a comment": "# nothing\n",
        "a number": "42\n",
        "a list": "- a\n- b\n",
        "two documents": TINY + "---\n" + TINY,
        "a tab": "kind:\n\t- table\n",
        "an unknown version": "%YAML 9.9\n---\n" + TINY,
        "a tag prefix": "%TAG ! tag:yaml.org,2002:python/\n---\n"
        + changed("title", "!object/apply:os.system [touch x]"),
        "a profile of control characters": 'kind: table\nprofiles: {"\\e[31m": {}}\n',
        "a figure of itself": "kind: figure\ntitle: x\nsources: [x]\n",
        "a figure of a path": "kind: figure\ntitle: x\nsources: [../outside/secret]\n",
        "a sweep of itself": "kind: sweep\ntitle: x\nsources: [x]\nsweep: {a: [1]}\n",
        "a sweep of 10^20 points": "kind: sweep\ntitle: x\nsources: [tiny]\nsweep:\n"
        + "".join(f"  a{i}: {{from: 1, to: 100, step: 1}}\n" for i in range(10)),
        "a range of 10^12 points": "kind: sweep\ntitle: x\nsources: [tiny]\n"
        "sweep: {data.num_train: {from: 1, to: 1000000000000, step: 1}}\n",
        "a range without a step": "kind: sweep\ntitle: x\nsources: [tiny]\n"
        "sweep: {data.num_train: {from: 1, to: 10, step: 0}}\n",
        "a range to infinity": "kind: sweep\ntitle: x\nsources: [tiny]\n"
        "sweep: {data.num_train: {from: 1, to: .inf, step: 1}}\n",
    }  # fmt: skip
    harmless = {  # to show
        "no key", "binary", "a size beyond 64 bits", "a million frames at a time",
        "more channels than memory",
    }  # fmt: skip
    for name, text in texts.items():

        def prepare(box: Box, text: str | bytes = text) -> list[str]:
            box.write("x.yaml", text)
            box.write("tiny.yaml", TINY)
            return ["show", "./x.yaml"]

        yield Attempt("yaml", name, prepare, EITHER if name in harmless else REFUSED)

    def chain(box: Box) -> list[str]:
        for i in range(3000):
            box.write(f"b{i}.yaml", f"base: b{i + 1}.yaml\n")
        box.write("b3000.yaml", TINY)
        return ["show", "./b0.yaml"]

    def loop(box: Box) -> list[str]:
        box.write("a.yaml", "base: b.yaml\n")
        box.write("b.yaml", "base: a.yaml\n")
        return ["show", "./a.yaml"]

    yield Attempt("yaml", "a chain of 3,000 bases", chain)
    yield Attempt("yaml", "two bases in a circle", loop)


def overrides() -> Iterator[Attempt]:
    """Yield values of `--set` and other arguments."""
    values = [
        "", "=", "=1", "data", ".=1", "data..size=1", "data.=1", "a" * 100_000, "=" * 1000,
        ".".join(["a"] * 5000) + "=1", ".".join(["a"] * 100_000) + "=1",
        "data.size=[", "data.size={", "data.size=!!python/name:os.system",
        "data.size=!!python/object/apply:os.system [touch ../outside/made]",
        f"data.size={DIGITS}", f"data.size=0x{DIGITS}", "data.size=1e999", "data.size=.nan",
        "data.size=2001-99-99", "data.size=~", "data.size=" + "[" * 50_000, "data={}", "data=~",
        "data.size=" + "{a: " * 3000 + "1" + "}" * 3000,
        "rows=&r [*r]", "rows=[../../outside/made]", "rows=~", "rows=[]", "rows=[lamd, lamd]",
        f"data.camera={CONTROL}x", f"data.camera={BIDI}x", "data.camera=a\nb", "data.camera=[/b]",
        f"{CONTROL}=1", f"{BIDI}=1", "a\nb=1", "data.camera=\udcff", "\udcff=1",
        "data.name=../../outside/made", "data.name=[bair]", "data.num_frames=4503599627370496",
        "data.size=9999999999", "data.num_test=-1", "data.num_test=1.5", "data.num_test=true",
        f"data.simulation_seed={DIGITS[:4000]}",
        "dmg.channel_multipliers=[" + "1, " * 50_000 + "1]",
        "evaluate.protocols=[../../outside/made]", f"evaluate.protocols=[{CONTROL}]",
        "target=../../outside/made", "target=../../outside/folder/keep.txt",
        "target=/outside/made",
        "target=..", "target=.", "target=''", 'target="a\\nb"', 'target="a\\0b"', "target=a/b",
        "target=" + "x" * 300, 'target="\\e[2J"', "target=-rf", "target=[a]", "target=~",
        "kind=figure", "kind=[]", "profiles.quick=1", "base=../outside/secret.txt", "sources=[x]",
        "sources.x.y=1", "__class__.__init__=1", "model_config.extra=allow", "lines=1",
        "published=../../outside/secret", "train_vae.learning_rate=.inf", "sampler.eta=.nan",
        "sampler.name=/x", "sampler.num_steps=0", "runtime.sampling_batch_size=-5",
    ]  # fmt: skip
    harmless = {
        "data={}", "data.num_frames=4503599627370496", "data.num_test=true",
        f"data.simulation_seed={DIGITS[:4000]}",
    }  # fmt: skip
    for form in ("lists", "mappings"):
        values.append(f"data.size={{{bomb(form).strip().replace(chr(10), ', ')}}}")
    for value in values:

        def prepare(box: Box, value: str = value) -> list[str]:
            box.copy("tiny.yaml")
            if not value.startswith("target="):
                return ["show", "./tiny.yaml", "--set", value]
            box.copy("runs")
            return ["reproduce", "./tiny.yaml", "--set", value, "--device", "cpu"]

        shown = value if len(value) < 60 else f"{value[:40]}... ({len(value)})"
        codes = EITHER if value in harmless else REFUSED
        yield Attempt("set", ascii(shown)[1:-1], prepare, codes)
    arguments = {
        "a target that climbs": ["show", "../outside/secret.txt"],
        "a target of control characters": ["show", f"table{CONTROL}"],
        "a target of bidirectional marks": ["show", f"table{BIDI}"],
        "a target of a megabyte": ["show", "x" * 100_000],
        "a device as a target": ["show", "/dev/zero"],
        "a folder as a target": ["show", "./"],
        "a target with NUL bytes": ["show", "./a\0b.yaml"],
        "a profile that climbs": ["show", "./tiny.yaml", "--profile", "../x"],
        "a profile of control characters": ["show", "./tiny.yaml", "--profile", CONTROL],
        "a device of control characters": ["plan", "./tiny.yaml", "--device", f"cuda{CONTROL}"],
        "a limit without end": ["plan", "./tiny.yaml", "--limit", "inf"],
        "a device of 10,000 digits": ["plan", "./tiny.yaml", "--device", f"cuda:{DIGITS}"],
        "a row that closes the list": ["reproduce", "./tiny.yaml", "--rows", "lamd]\ntarget: [x"],
        "an executor of control characters": ["reproduce", "./tiny.yaml", "--executor", CONTROL],
        "a stage of control characters": ["train", "./tiny.yaml", "--stage", CONTROL],
        "a stage that climbs": ["train", "./tiny.yaml", "--stage", "../../outside/made"],
        "a metric of control characters": ["evaluate", "--real", "a.npy", "--fake", "b.npy",
                                           "--metrics", f"{CONTROL}"],
        "a metric of a megabyte": ["evaluate", "--real", "a.npy", "--fake", "b.npy",
                                   "--metrics", "x" * 100_000],
        "a data set of control characters": ["data", "verify", CONTROL],
        "weights that climb": ["weights", "fetch", "../../outside/secret"],
        "weights of control characters": ["weights", "fetch", f"{CONTROL}"],
        "results of a name of control characters": ["results", f"no{CONTROL}where"],
        "runs with NUL bytes": ["show", "./tiny.yaml", "--runs", "a\0b"],
        "runs too long for a file": ["show", "./tiny.yaml", "--runs", "x" * 5000],
        "a run of 10^15 steps": ["plan", "./tiny.yaml", "--no-probe", "--set",
                                 "train_vae.num_steps=1000000000000000"],
        "a run of 10^12 videos": ["plan", "./tiny.yaml", "--no-probe", "--set",
                                  "data.num_train=1000000000000"],
        "a run of 10^9 samples": ["plan", "./tiny.yaml", "--no-probe", "--set",
                                  "evaluate.samples_per_clip=1000000000"],
    }  # fmt: skip
    for name, words in arguments.items():

        def command(box: Box, words: list[str] = words) -> list[str]:
            box.copy("tiny.yaml")
            return words

        yield Attempt("set", name, command, EITHER if "a run of" in name else REFUSED)


CAPTION = "the cone is rotating."


def captions() -> Iterator[Attempt]:
    """Yield caption lists of `evaluate-captions` and caption files of CATER-GEN."""
    lists: dict[str, tuple[str | bytes, frozenset[int]]] = {
        "nothing": ("", REFUSED),
        "no list": (json.dumps({"a": CAPTION}), REFUSED),
        "an empty list": ("[]", REFUSED),
        "a nested list": (json.dumps([[CAPTION]]), REFUSED),
        "a number": ("[1]", REFUSED),
        "a number of 10,000 digits": (f"[{DIGITS}]", REFUSED),
        "not a number": ("[NaN]", REFUSED),
        "100,000 levels": ("[" * 100_000, REFUSED),
        "100,000 levels of objects": ('{"a":' * 100_000, REFUSED),
        "900 levels": ("[" * 900 + "]" * 900, REFUSED),
        "a lone surrogate": (r'["the \ud800 is rotating."]', REFUSED),
        "control characters": (json.dumps([f"the {CONTROL} is rotating."]), REFUSED),
        "bidirectional marks": (json.dumps([f"the {BIDI} is rotating."]), REFUSED),
        "line separators": (json.dumps(["the \u2028 is rotating."]), REFUSED),
        "markup": (json.dumps(["the [/b] is rotating."]), REFUSED),
        "a NUL": (json.dumps(["the \0 is rotating."]), REFUSED),
        "a caption of 5 MB": (json.dumps(["the cone is " + "x" * 5_000_000]), REFUSED),
        "a caption of a million attributes": (
            json.dumps(["the " + "small " * 1_000_000 + "cone is sliding to (1, 1)x"]), REFUSED),
        "a caption of 200,000 sentences": (json.dumps([CAPTION * 200_000]), EITHER),
        "spaces without end": (json.dumps(["the" + " " * 5_000_000 + "cone is sliding to"]),
                               REFUSED),
        "brackets without end": (json.dumps(["(1 , " * 300_000]), REFUSED),
        "UTF-16": (json.dumps([CAPTION]).encode("utf-16"), REFUSED),
        "a byte order mark": (b"\xef\xbb\xbf" + json.dumps([CAPTION]).encode(), EITHER),
        "Latin-1": ('["caf\u00e9"]'.encode("latin-1"), REFUSED),
        "two documents": (json.dumps([CAPTION]) * 2, REFUSED),
        "half a file": (json.dumps([CAPTION])[:-4], REFUSED),
        "a caption of nothing": ('[""]', EITHER),
        "a caption of points": ('["......"]', EITHER),
        "Arabic digits": (json.dumps(["the cone is sliding to (\u0661, \u0661)."]), REFUSED),
    }  # fmt: skip
    for name, (text, codes) in lists.items():

        def score(box: Box, text: str | bytes = text) -> list[str]:
            box.write("true.json", text)
            box.write("generated.json", json.dumps([CAPTION]))
            return ["evaluate-captions", "--true", "true.json", "--generated", "generated.json"]

        yield Attempt("captions", f"true: {name}", score, codes)
    for name in ("control characters", "a caption of 5 MB", "a caption of a million attributes",
                 "100,000 levels", "spaces without end"):  # fmt: skip

        def guess(box: Box, name: str = name) -> list[str]:
            box.write("true.json", json.dumps([CAPTION]))
            box.write("generated.json", lists[name][0])
            return ["evaluate-captions", "--true", "true.json", "--generated", "generated.json"]

        codes = REFUSED if "levels" in name else EITHER
        yield Attempt("captions", f"generated: {name}", guess, codes)

    def entry(**changes: object) -> str:
        return json.dumps({"0": {"video": "videos/a.avi", "caption": CAPTION} | changes})

    files: dict[str, str | bytes] = {
        "100,000 levels": '{"0":' * 100_000,
        "a list": "[]",
        "an entry without a video": json.dumps({"0": {"caption": CAPTION}}),
        "an entry that is a number": json.dumps({"0": 1}),
        "a video that climbs": entry(video="../../outside/secret.txt"),
        "an absolute video": entry(video="/etc/passwd"),
        "a video of control characters": entry(video=f"videos/{CONTROL}.avi"),
        "a video with NUL": entry(video="videos/a\0.avi"),
        "a video with a backslash": entry(video="videos\\..\\..\\x.avi"),
        "a video too long for a file": entry(video="videos/" + "x" * 5000),
        "a video of 50,000 folders": entry(video="a/" * 50_000 + "a.avi"),
        "a caption that is no ASCII": entry(caption="\u202ethe cone"),
        "a caption of control characters": entry(caption=f"{CONTROL} the cone is rotating."),
        "a caption of 5 MB": entry(caption="x" * 5_000_000),
        "a key of control characters": json.dumps(
            {CONTROL: {"video": "videos/a.avi", "caption": CAPTION}}),
        "a key that is a surrogate": r'{"\ud800": {"video": "videos/a.avi", "caption": "x"}}',
        "a key of 10,000 digits": json.dumps({DIGITS: {"video": "a.avi", "caption": CAPTION}}),
        "20,000 entries of one video": json.dumps(
            {str(i): {"video": "videos/a.avi", "caption": CAPTION} for i in range(20_000)}),
    }  # fmt: skip
    for name, text in files.items():

        def verify(box: Box, text: str | bytes = text) -> list[str]:
            for split in ("train", "test"):
                box.write(f"data/cater_gen_v1/{split}_ambiguous.json", text)
            box.write("data/cater_gen_v1/videos/a.avi", "RIFF")
            return ["data", "verify", "cater_v1", "--root", "data"]

        yield Attempt("captions", f"CATER: {name}", verify)
    scenes: dict[str, str] = {
        "100,000 levels": "[" * 100_000,
        "control characters": json.dumps({"image_filename": CONTROL, "objects": 1}),
        "a number of 10,000 digits": f'{{"objects": [], "movements": {DIGITS}}}',
        "a place at infinity": json.dumps({
            "objects": [{"instance": "a", "shape": "cone", "size": "small", "color": "red",
                         "material": "metal", "locations": {"0": [1e999, 0, 0]}}],
            "movements": {"a": [["_slide", None, 0, 1]]}}),
    }  # fmt: skip
    for name, text in scenes.items():

        def scene(box: Box, text: str = text) -> list[str]:
            for split in ("train", "test"):
                box.write(f"data/cater_gen_v1/{split}_explicit.json", entry())
            box.write("data/cater_gen_v1/videos/a.avi", "RIFF")
            box.write("data/cater_gen_v1/scenes/a.json", text)
            return ["data", "verify", "cater_v1", "--root", "data"]

        yield Attempt("captions", f"scene: {name}", scene)


def environment() -> Iterator[Attempt]:
    """Yield variables of the environment, for a command that reads them."""
    words = {
        "LAMD_DATA": ["data", "verify", "bair"],
        "LAMD_CACHE": ["weights", "list"],
        "XDG_CACHE_HOME": ["weights", "list"],
        "LAMD_RUNS": ["show", "./tiny.yaml"],
        "LAMD_EXTENSIONS": ["list"],
        "LAMD_WEIGHTS": ["weights", "fetch", "lpips-alexnet"],
        "HOME": ["weights", "list"],
        "RANK": ["train", "./tiny.yaml", "--stage", "vae", "--device", "cpu"],
        "WORLD_SIZE": ["train", "./tiny.yaml", "--stage", "vae", "--device", "cpu"],
        "COLUMNS": ["list"],
        "LANG": ["list"],
    }
    long = "x" * 5000
    paths = ["../outside/secret.txt", f"no{CONTROL}where", f"no{BIDI}where", "\udcff", long,
             "/proc/self/mem/x", "~nobody-here/x", "/dev/null"]  # fmt: skip
    numbers = ["x", "-1", "", "1.5", DIGITS, "\u0663", CONTROL]
    values: dict[str, list[str]] = {
        "LAMD_DATA": paths, "LAMD_WEIGHTS": paths,
        "LAMD_EXTENSIONS": ["os; rm -rf x", "../outside/secret", f"no{CONTROL}where", f"no{BIDI}",
                            "..", ".os", "a..b", long, "\udcff"],
        "RANK": numbers, "WORLD_SIZE": numbers,
    }  # fmt: skip
    harmless: dict[str, list[str]] = {
        "LAMD_CACHE": paths, "LAMD_RUNS": paths, "XDG_CACHE_HOME": paths, "HOME": paths[1:],
        "COLUMNS": [n for n in numbers if n != DIGITS], "LANG": ["C", "xx_YY.UTF-7", CONTROL],
    }  # fmt: skip
    for given, codes in ((values, REFUSED), (harmless, EITHER)):
        for variable, texts in given.items():
            for text in texts:

                def prepare(box: Box, words: list[str] = words[variable]) -> list[str]:
                    box.copy("tiny.yaml", "runs")
                    return words

                name = f"{variable}={ascii(text)[1:-1][:40]}"
                yield Attempt("environment", name, prepare, codes, {variable: text})


def titles() -> Iterator[Attempt]:
    """Yield titles of a finished run, of which tables and figures are written."""
    texts = {
        "an end of markup": "a [/b]",
        "markup": "[red]a[/red] [link=file:///x]b[/link]",
        "an emoji code": ":skull: :smile:",
        "open mathtext": "a $b",
        "wrong mathtext": r"$\frac{a$ $\undefined{x}$",
        "deep mathtext": "$" + "{" * 98 + "x" + "}" * 98 + "$",
        "LaTeX": r"\input{/etc/passwd} \write18{touch x} %",
        "special characters of LaTeX": r"a_b & c # d % e ^ f ~ g { h } $ \ ",
        "HTML": "<script>alert(1)</script><img src=x onerror=y>",
        "a comment of HTML": "--> <!-- x",
        "Markdown": "![x](http://x/y) | a | `b` \n\n# c".replace("\n", " "),
        "a formula": "=HYPERLINK(1)",
        "another formula": "@SUM(1+1)*cmd|' /C calc'!A0",
        "control characters": f"a {CONTROL} b \x07 \x9b",
        "a bidirectional mark": f"a {BIDI} b",
        "a line break": "a\nb\r\nlamd: done",
        "a NUL": "a\0b",
        "a tag character": "a\U000e0041b",
        "a lone surrogate": "a\ud800b",
        "letters outside of fonts": "\U0001f480 \u0e01 \ufdfd" * 20,
        "marks without end": "a" + "\u0301" * 199,
        "100 words": "x " * 100,
        "100,000 characters": "x" * 100_000,
        "100,000 words": "x y " * 50_000,
        "nothing": "",
        "format fields": "{0} {title} %s %(x)s ${HOME}",
        "a byte order mark": "\ufeffa",
        "zero width": "a\u200bb\u2060c",
    }  # fmt: skip
    every = {"\x1b": "a control character", BIDI: "a bidirectional mark"}
    wrong = {
        ".md": {"<script>": "HTML"}, ".tex": {"\\input{/etc": "LaTeX"},
        ".csv": {"\n=HYPERLINK": "a formula", ",=HYPERLINK": "a formula"},
    }  # fmt: skip

    def escaped(box: Box, stdout: str) -> str | None:
        for path in sorted((box.work / "results").rglob("*")):
            for mark, what in (every | wrong[path.suffix]).items() if path.suffix in wrong else ():
                if mark in path.read_text().replace("\\<", "&lt;"):  # Markdown's escape
                    return f"{path.suffix} holds {what} unchanged"
        return None

    for name, text in texts.items():

        def prepare(box: Box, text: str = text) -> list[str]:
            box.copy("runs")
            box.write("tiny.yaml", changed("title", json.dumps(text)))
            return ["reproduce", "./tiny.yaml", "--device", "cpu"]

        yield Attempt("titles", name, prepare, EITHER, check=escaped)
    for name in ("an end of markup", "control characters", "a bidirectional mark", "a formula",
                 "a lone surrogate", "a line break"):  # fmt: skip

        def record(box: Box, name: str = name, text: str = texts[name]) -> list[str]:
            path = box.work / "results" / "tiny" / "quick" / "record.json"
            box.copy("results")
            content = json.loads(path.read_text())
            content["points"] = {text: {"data.num_train": text}}
            content["rows"][0]["name"] = text
            content["values"][0] |= {"row": text, "point": text, "part": text, "metric": text}
            path.write_text(json.dumps(content))
            return ["results", *(["--csv", "x.csv"] if "formula" in name else [])]

        def no_formula(box: Box, stdout: str, name: str = name) -> str | None:
            if "formula" not in name:
                return None
            path = box.work / "x.csv"
            text = path.read_text() if path.is_file() else ""
            if "HYPERLINK" not in text:
                return "CSV lacks the text"
            return "CSV holds a formula" if re.search(r"(^|,)\"?=HYPERLINK", text, re.M) else None

        yield Attempt("titles", f"record: {name}", record, EITHER, check=no_formula)


def text_attempts() -> Iterator[Attempt]:
    """Yield all of this file."""
    for attempts in (experiments, overrides, captions, environment, titles):
        yield from attempts()
