"""The error that exporting raises."""

from __future__ import annotations


class ExportError(ValueError):
    """A model, a size or a file that cannot be exported; the message names it and the remedy."""
