"""The frame around every command-line tool."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pe_dense.launch.messages import user_message


def run_tool(body: Callable[[], int]) -> int:
    """Call the body of a tool; what is wrong with the user's input or files becomes one line on stderr.

    Args:
        body: returns the exit status.

    Returns:
        The exit status: the body's; 2 after an error that this library raised on purpose (see :func:`user_message`) or
        that the operating system raised about a file; 130 after Ctrl-C. All other errors are bugs and pass through.
    """
    try:
        return body()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except Exception as error:
        message = user_message(error)
        if message is None and isinstance(error, OSError) and error.filename is not None:
            message = f"{error.filename}: {error.strerror}; check the path, its permissions and the free space"
        if message is None:
            raise
        sys.stderr.write(f"error: {message}\n")
        return 2
