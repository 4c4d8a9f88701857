"""The one exception a user is meant to see, and how a lack of memory is recognised."""

# of a CPU, cuBLAS and cuDNN, whose errors have no class that says so
_NO_MEMORY = ("DefaultCPUAllocator", "STATUS_ALLOC_FAILED", "unable to find an engine")


class LamdError(Exception):
    """A user-facing failure: one line naming the file or key, the reason and the fix.

    The command line prints it without a traceback and exits with code 2.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is a lack of memory; torch's own class by its name, unimported."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
