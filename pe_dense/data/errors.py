"""The error that every reader of data raises."""

from __future__ import annotations


class DataError(ValueError):
    """Something in the user's files is wrong; the message names the culprit and the remedy in one sentence."""
