"""The `lamd` command: arguments in, one call, lines out. Nothing heavy is imported at the top."""

from lamd.cli.main import main

__all__ = ["main"]
