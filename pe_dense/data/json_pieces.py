"""Reading a json, and one long list of it a piece at a time."""

from __future__ import annotations

import codecs
import json
import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from pe_dense.data.errors import DataError

_PIECE = 1 << 22  # bytes
_LARGEST = 1 << 26
_LAST, _NEXT = re.compile(rb"\}\s*\]"), re.compile(rb"\s*,\s*\{")
_COMMA, _END = re.compile(rb"\s*,"), re.compile(rb"\s*\]")
_TRIES = 4
_BOM = b"\xef\xbb\xbf"


def load_json(path: Path) -> Any:
    """A json as a whole; NaN and Infinity, which many scripts write, are numbers.

    Raises:
        DataError: if the file is not json.
    """
    text = path.read_bytes().removeprefix(_BOM)
    try:
        return _parse(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not valid json: {error}; it is perhaps cut short ({len(text):,} bytes), copy it again"
        ) from None


def load_in_pieces(path: Path, key: str, take: Callable[[list[Any]], None]) -> dict[str, Any] | None:
    """A json object one of whose values is a long list of objects, without ever holding all of that list.

    The list is cut behind the last object in each few MB. No text is searched for brackets within strings: a piece
    that parses as a list by itself, from the place where the one before ended, can only have been cut between two
    entries; and the list is the right one if the rest of the file parses with nothing in its place.

    Args:
        path: the file.
        key: of the list.
        take: receives the entries, some thousand at a time, in order.

    Returns:
        the object, with an empty list in that place; ``None`` if the file is not of this form or no json at all: what
        ``take`` received is then worth nothing.
    """
    with path.open("rb") as file:
        try:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return None
        with pages:
            found = re.search(rb'"%s"\s*:\s*\[' % re.escape(key.encode()), pages)
            if found is None:
                return None
            start = found.end()
            end = _take_list(pages, start, take)
            if end is None:
                return None
            rest = pages[: start - 1].removeprefix(_BOM) + b"null" + pages[end:]
    try:
        content = _parse(rest)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(content, dict) or content.get(key, 0) is not None:
        return None
    return {**content, key: []}


def _take_list(pages: mmap.mmap, start: int, take: Callable[[list[Any]], None]) -> int | None:
    """Hand on the entries of the list whose first entry starts here; where the text behind the list starts."""
    end = _END.match(pages, start)
    while end is None:
        piece = _next_piece(pages, start)
        if piece is None:
            return None
        entries, stop = piece
        take(entries)
        end, comma = _END.match(pages, stop), _COMMA.match(pages, stop)
        start = comma.end() if comma else stop
    return end.end()


def _next_piece(pages: mmap.mmap, start: int) -> tuple[list[Any], int] | None:
    """The entries up to a place behind one of them, and that place; ``None`` if there is no such place nearby."""
    size = _PIECE
    while size <= _LARGEST:
        for stop in _cuts(pages, start, start + size):
            try:
                return _parse(b"[%b]" % pages[start:stop]), stop
            except (json.JSONDecodeError, UnicodeDecodeError):
                pass  # cut within an entry or behind the list
        with suppress(json.JSONDecodeError, UnicodeDecodeError):  # perhaps the last piece
            text = "[" + codecs.getincrementaldecoder("utf-8")().decode(pages[start : start + size])
            entries, end = json.JSONDecoder().raw_decode(text)
            return entries, start + len(text[1 : end - 1].encode())
        size *= 4
    return None


def _cuts(pages: mmap.mmap, start: int, stop: int) -> Iterator[int]:
    """Places behind objects, likely ones first: the first that ends a list, then the last few that others follow."""
    last = _LAST.search(pages, start, stop)
    if last is not None:
        yield last.start() + 1
    for _ in range(_TRIES):
        stop = pages.rfind(b"}", start, stop)
        if stop < 0:
            return
        if _NEXT.match(pages, stop + 1):
            yield stop + 1


def _parse(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # takes NaN and Infinity
