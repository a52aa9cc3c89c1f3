"""Whether a file of weights is still what it was when it was first used."""

from __future__ import annotations

import json
import logging
import os
import re
from hashlib import sha256
from pathlib import Path

from pe_dense.data.cache import cache_folder
from pe_dense.modeling.backbone import WeightsError

logger = logging.getLogger(__name__)

RECORD_SUFFIX = ".check.json"
_CHUNK = 1 << 24  # bytes


def check_file(path: Path, verify: bool = False) -> None:
    """Compare a file with its record, if :func:`record_file` has written one.

    The record is ``NAME.check.json`` beside the file, or in ``model_zoo/`` of ``$PE_DENSE_CACHE`` if the file's folder
    has none and cannot be written, as one that many share. It holds size, SHA-256 and time of change. The size is
    compared always; the content is read and its SHA-256 compared if the time of change is another one, or on request.

    Args:
        path: of the file.
        verify: read and compare the content in any case.

    Raises:
        WeightsError: if size or content differ.
    """
    record, stat = _record_of(path), path.stat()
    known = _read(record)
    if known is None:
        return
    where = f"recorded in {record}"
    if stat.st_size != known["size"]:
        raise WeightsError(
            f"{path} has {stat.st_size} bytes and had {known['size']} when it was first used ({where}): it is "
            f"truncated or another file. {_remedy(path, record)}"
        )
    if stat.st_mtime_ns == known["mtime_ns"] and not verify:
        logger.info("%s: size and time of change as at its first use", path)
        return
    found = _hash(path)
    if found != known["sha256"]:
        raise WeightsError(
            f"{path} has another content than when it was first used: SHA-256 {found}, {where}: {known['sha256']}. "
            f"{_remedy(path, record)}"
        )
    logger.info("%s: SHA-256 %s as at its first use", path, found)
    if stat.st_mtime_ns != known["mtime_ns"]:
        _write(record, {**known, "mtime_ns": stat.st_mtime_ns})


def record_file(path: Path) -> None:
    """Write the record of a file that has none, after its first use as weights: a wrong file is not recorded.

    Raises:
        WeightsError: see :func:`check_against_hub`.
    """
    record, stat = _record_of(path), path.stat()
    if _read(record) is None:
        found = _hash(path)
        _compare_with_hub(path, found)
        _write(record, {"size": stat.st_size, "sha256": found, "mtime_ns": stat.st_mtime_ns})


def check_against_hub(path: Path) -> None:
    """Compare the SHA-256 of a file in the hub's cache with the hub's, which is the name of the file that the cache's
    link leads to.

    Raises:
        WeightsError: if it is another one.
    """
    if _is_of_hub(path):
        _compare_with_hub(path, _hash(path))


def _is_of_hub(path: Path) -> bool:
    return re.fullmatch("[0-9a-f]{64}", path.resolve().name) is not None


def _compare_with_hub(path: Path, found: str) -> None:
    expected = path.resolve().name
    if _is_of_hub(path) and expected != found:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is {found}, on the hub it is {expected}. Delete {path.resolve()} and "
            f"{path}, then fetch it again"
        )


def _record_of(path: Path) -> Path:
    beside = path.with_name(path.name + RECORD_SUFFIX)
    if beside.exists() or os.access(path.parent, os.W_OK):
        return beside
    place = sha256(str(path.absolute()).encode()).hexdigest()[:16]
    return cache_folder() / "model_zoo" / f"{path.stem}-{place}{RECORD_SUFFIX}"


def _remedy(path: Path, record: Path) -> str:
    return f"Delete {path.resolve()} and fetch it again; or, if it was replaced on purpose, delete {record}"


def _hash(path: Path) -> str:
    logger.info("%s: computing the SHA-256 of %.1f GB", path, path.stat().st_size / 1e9)
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read(record: Path) -> dict[str, int | str] | None:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return {"size": int(content["size"]), "sha256": content["sha256"], "mtime_ns": int(content["mtime_ns"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{record} is damaged ({error}); delete it, and the file is recorded anew") from error


def _write(record: Path, content: dict[str, int | str]) -> None:
    temporary = record.with_name(f"{record.name}.{os.getpid()}.tmp")
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        os.replace(temporary, record)
        logger.info("size and SHA-256 are recorded in %s", record)
    except OSError as error:
        logger.warning("cannot record size and SHA-256 in %s (%s): changes are not noticed", record, error.strerror)
    finally:
        temporary.unlink(missing_ok=True)
