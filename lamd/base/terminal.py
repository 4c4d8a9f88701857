"""The way to the terminal: what comes from outside is plain text, its control characters seen."""

import io
import re
import sys
import traceback

_LONGEST = 1000  # characters


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with what is not printable as escapes, such as `\x1b`; `keep` stays.

    Not printable are control characters, marks of direction or width, undecodable bytes of a name.
    """
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def say(line: object) -> None:
    """Print `lamd: ...` on stderr; line breaks, which messages of libraries have, become spaces.

    Of a very long line, such as that of a file with a name of thousands of letters, both ends.
    """
    text = printable(re.sub(r"\s*\n\s*", " ", str(line).strip()))
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    print(f"lamd: {text}", file=sys.stderr, flush=True)


def print_traceback() -> None:
    """Print the exception at hand on stderr, with the lines of its traceback."""
    print(printable(traceback.format_exc(), keep="\n"), file=sys.stderr, end="")


def escape_unencodable() -> None:
    """Let stdout and stderr escape letters that the encoding of the terminal lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
