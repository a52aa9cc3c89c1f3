"""Which nodes of a recipe were copied into a call, to warn of edits that come too late.

``model = L(Model)(backbone=encoder)`` copies ``encoder``: what ``encoder.depth = 3`` below it changes is not in the
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from omegaconf.base import Container


class Copy(NamedTuple):
    """A copy that a call took.

    Attributes:
        node: what was copied; held, so that no other object gets its id.
        content: plain data at that time.
        argument: where it went.
    """

    node: Container
    content: Any
    argument: str


Copies = dict[int, Copy]
_copies: ContextVar[Copies | None] = ContextVar("copies", default=None)


@contextmanager
def watch_copies() -> Iterator[Copies]:
    """Collect, by id of the node, the newest copy of each node that is copied within."""
    copies: Copies = {}
    token = _copies.set(copies)
    try:
        yield copies
    finally:
        _copies.reset(token)


def note_copy(value: Any, content: Any, argument: str) -> None:
    """Tell those who watch that ``value``, if it is a node, was copied."""
    copies = _copies.get()
    if copies is not None and isinstance(value, Container):
        copies[id(value)] = Copy(value, content, argument)


def edited_afterwards(copies: Copies, namespace: Mapping[str, Any], final: Mapping[str, Any]) -> list[str]:
    """A message for each name whose value is not any more what was copied.

    Args:
        copies: of :func:`watch_copies`.
        namespace: names and nodes of the recipe.
        final: the same names' plain data after all edits.
    """
    return [
        f"{name} was changed after it had been copied into {copies[id(value)].argument}, where the change has no "
        "effect: make it before, or there"
        for name, value in namespace.items()
        if id(value) in copies and name in final and final[name] != copies[id(value)].content
    ]
