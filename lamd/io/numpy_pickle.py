"""Read a pickle of NumPy arrays without running what else a pickle may ask for."""

import io
import pickle

import numpy as np

from lamd.base.errors import LamdError


def read_numpy_pickle(data: bytes, origin: str) -> dict[str, np.ndarray]:
    """Return the arrays of a pickled nested dict, names joined with "/".

    Raises:
        LamdError: when the pickle holds or asks for anything but dicts of number arrays.
    """
    try:
        return _flatten(_ArrayUnpickler(io.BytesIO(data)).load())
    except _Refused as error:
        problem = f"the pickle asks for {error}, only NumPy arrays are read; do not use this file"
    except Exception as error:  # a damaged pickle can raise nearly anything
        problem = f"not a readable pickle of NumPy arrays ({type(error).__name__})"
    raise LamdError(f"{origin}: {problem}; get the pinned file")


# NumPy's own array reconstruction, under the names old and new releases pickle it with.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Refused(Exception):
    pass


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"`{module}.{name}`")
        return _ALLOWED[module, name]


def _flatten(tree: object, prefix: str = "") -> dict[str, np.ndarray]:
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "fiu" and prefix:
        return {prefix: tree}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise _Refused(f"a `{type(tree).__name__}` at `{prefix or '/'}`")
    flat: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}/{key}" if prefix else key)
    return flat
