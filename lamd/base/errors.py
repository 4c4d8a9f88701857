"""The one exception a user is meant to see."""


class LamdError(Exception):
    """A user-facing failure: one line naming the file or key, the reason and the fix.

    The command line prints it without a traceback and exits with code 2.
    """
