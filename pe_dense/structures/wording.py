"""Wording that the messages of all rooms share."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, what: str) -> str:
    """``1 image``, ``2 images``, ``3 boxes of zero size``, ``4 categories``, ``5 keys``.

    Args:
        number: how many.
        what: an English noun in the singular, and what follows it.
    """
    noun, space, rest = what.partition(" ")
    if number != 1:
        if noun.endswith("y") and not noun.endswith("ey"):
            noun = noun[:-1] + "ie"
        elif noun.endswith(("s", "x", "ch")):
            noun += "e"
        noun += "s"
    return f"{number} {noun}{space}{rest}"


def few(names: Sequence[str], shown: int = 8) -> str:
    """``a, b, c and 5 more``: the first names of a list, and how many follow; empty for none."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def nothing_above(threshold: float, count: int, highest: float) -> str:
    """What to tell when all objects, ``count`` with a best score of ``highest``, lie below the score threshold."""
    return (
        f"no object scored {threshold:g} or more; the highest of {count} was {highest:.4g}: lower the score threshold "
        f"(--score-threshold)"
    )
