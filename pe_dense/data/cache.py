"""Keeping a parsed COCO json on disk, so that later starts and all worker processes map the same pages."""

from __future__ import annotations

import json
import logging
import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from pe_dense.data.annotations import AnnotationTable
from pe_dense.data.coco_json import parse_coco
from pe_dense.structures import Categories

logger = logging.getLogger(__name__)

FORMAT = 4
"""Raise when the arrays or the checks change: old cache files are then rebuilt."""

_DTYPES = {"F32": np.float32, "I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}


def cache_folder() -> Path:
    """``$PE_DENSE_CACHE``, or ``~/.cache/pe_dense``."""
    return Path(os.environ.get("PE_DENSE_CACHE") or Path.home() / ".cache" / "pe_dense").expanduser()


def load_table(json_file: str | os.PathLike[str]) -> AnnotationTable:
    """Annotations of a COCO json: memory-mapped from the cache, after parsing it once.

    The cache is one safetensors file per json, valid for the json's path, size and modification time and for this
    version of the format. A missing, outdated or damaged cache is rebuilt under a lock (one process parses, the others
    wait) and replaced in one step. Where the cache folder cannot be written, the arrays stay in this process's memory.

    Raises:
        FileNotFoundError, DataError: see :func:`~pe_dense.data.coco_json.parse_coco`.
    """
    source = Path(json_file).expanduser().absolute()
    if not source.is_file():
        return parse_coco(source)  # raises
    name = f"{source.stem}-{sha256(str(source).encode()).hexdigest()[:16]}.safetensors"
    target = cache_folder() / "coco" / name
    key = _key(source)
    table = read_cache(target, key)
    if table is not None:
        return table
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_suffix(".lock")):
            table = read_cache(target, key)  # another process may have built it meanwhile
            if table is None:
                _write(parse_coco(source), target, key)
                table = read_cache(target, key)
    except OSError as error:
        logger.warning("cannot keep %s in the cache folder %s (%s); set PE_DENSE_CACHE", source, target.parent, error)
    return table if table is not None else parse_coco(source)


def read_cache(target: Path, key: str | None = None) -> AnnotationTable | None:
    """Map a cache file; ``None`` if it is missing, was made for another ``key``, or is damaged.

    Without a ``key``, the file's content is trusted (a worker process opens what its parent has checked).
    """
    try:
        with target.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = 8 + int.from_bytes(pages[:8], "little")
        header = json.loads(pages[8:start])
        meta = header.pop("__metadata__")
        if key is not None and meta["key"] != key:
            return None
        arrays = {name: _view(pages, start, entry) for name, entry in header.items()}
        if key is not None and json.loads(meta["checksums"]) != _checksums(arrays):
            raise ValueError("checksums differ")
        categories = Categories.from_json(json.loads(meta["categories"]))
        skipped = json.loads(meta["skipped"])
        return CachedTable(Path(meta["source"]), categories, skipped, arrays, meta["doubts"], target)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        logger.warning("the cache file %s is damaged (%s) and is built again", target, error)
        return None


class CachedTable(AnnotationTable):
    """A table whose arrays are memory-mapped; pickling it sends only the file's name."""

    def __init__(
        self,
        source: Path,
        categories: Categories,
        skipped: dict[str, tuple[int, list[int]]],
        arrays: dict[str, np.ndarray],
        doubts: str,
        file: Path,
    ) -> None:
        super().__init__(source, categories, skipped, arrays, doubts)
        object.__setattr__(self, "file", file)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.__dict__["file"], self.source)


def _reopen(file: Path, source: Path) -> AnnotationTable:
    return read_cache(file) or load_table(source)


def _key(source: Path) -> str:
    stat = source.stat()
    return json.dumps([FORMAT, str(source), stat.st_size, stat.st_mtime_ns])


def _view(pages: mmap.mmap, start: int, entry: dict[str, Any]) -> np.ndarray:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    count, rest = divmod(end - begin, dtype.itemsize)
    if rest:
        raise ValueError("array sizes do not fit")
    return np.frombuffer(pages, dtype=dtype, count=count, offset=start + begin).reshape(entry["shape"])


def _checksums(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: zlib.crc32(array.reshape(-1).view(np.uint8).data) for name, array in sorted(arrays.items())}


def _write(table: AnnotationTable, target: Path, key: str) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in table.arrays.items()}
    metadata = {
        "key": key,
        "source": str(table.source),
        "categories": json.dumps(table.categories.to_json()),
        "skipped": json.dumps(table.skipped),
        "doubts": table.doubts,
        "checksums": json.dumps(_checksums(arrays)),
    }
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file(arrays, temporary, metadata=metadata)
        os.replace(temporary, target)
    except Exception as error:  # safetensors has its own error type for a full disk
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Exclusive over the processes of this machine; where the platform has no file locks, nothing is locked."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
