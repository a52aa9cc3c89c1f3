"""Wording that the messages of all rooms share."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import takewhile


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


def nearest(name: str, names: Sequence[str], cutoff: float) -> list[str]:
    """Up to three names that another may stand for: those that it is the beginning of, if there are any, else the most
    similar ones, in the order of how many letters they share with it at the beginning. Case does not matter.

    Args:
        name: what was given.
        names: that there are.
        cutoff: similarity, 0 to 1, from which a name is near (``difflib.get_close_matches``).
    """
    name, known = name.lower(), {n.lower(): n for n in names}
    near = get_close_matches(name, known, n=3, cutoff=cutoff)
    longer = [other for other in known if other in near and other.startswith(name)]
    return [known[other] for other in longer or sorted(near, key=lambda other: -_shared_start(name, other))]


def _shared_start(name: str, other: str) -> int:
    """Letters that two names share at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, other)))
