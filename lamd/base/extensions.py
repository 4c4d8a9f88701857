"""Modules outside the package that register data sets, metrics, rows, samplers or target kinds."""

import os
from importlib import import_module

from lamd.base.errors import LamdError


def load_extensions() -> None:
    """Import the comma-separated modules of `$LAMD_EXTENSIONS`; LamdError when an import fails."""
    for name in filter(None, map(str.strip, os.environ.get("LAMD_EXTENSIONS", "").split(","))):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise LamdError(f"LAMD_EXTENSIONS: {error}; add its folder to PYTHONPATH") from None
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise LamdError(f"LAMD_EXTENSIONS: {name}: {reason}; fix the module") from error
