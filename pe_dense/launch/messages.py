"""Which errors are a message to the user, and which are a bug."""

from __future__ import annotations

import traceback
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parents[1])
PROJECTS = str(Path(PACKAGE).parent / "projects")


def user_message(error: BaseException) -> str | None:
    """The message of an error that this library or a project raised on purpose, to print without a traceback.

    Returns:
        None for errors that something else raised: their traceback is needed.
    """
    if not isinstance(error, (ValueError, OSError, ArithmeticError, TypeError)):
        return None
    text = str(error)
    if "Original Traceback (most recent call last)" in text:  # passed on by a worker of torch's DataLoader
        lines = text.rstrip().splitlines()
        files = [line for line in lines if line.lstrip().startswith('File "')]
        return lines[-1].split(": ", 1)[-1] if files and PACKAGE in files[-1] else None
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not frames[-1].filename.startswith((PACKAGE, PROJECTS)):
        return None
    ours = frames[-1].filename.startswith(PACKAGE)
    if (isinstance(error, TypeError) or not ours) and not (frames[-1].line or "").startswith("raise"):
        return None  # Python's own: a wrong call, or a mistake in a project of the user's
    return text
