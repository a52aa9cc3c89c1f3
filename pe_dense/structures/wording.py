"""Wording that the messages of all rooms share."""

from __future__ import annotations


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
