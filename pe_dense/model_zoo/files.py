"""Where the weights come from: a path, a mirror, or the hub."""

from __future__ import annotations

import os
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

from pe_dense.data.cache import cache_folder
from pe_dense.model_zoo.entries import REPOSITORY, find_entry
from pe_dense.model_zoo.integrity import check_file
from pe_dense.modeling.backbone.weights import fetch_from_hub, start_of_text

MIRROR = "PE_DENSE_ZOO"
"""Environment variable: a folder, or an http(s) address, that has the files under their names on the hub."""

_TIMEOUT = 30.0  # seconds without an answer


def find_file(name: str, weights: str | os.PathLike[str] | None = None, verify: bool = False) -> Path:
    """The weights of a released detector on this machine, fetched if need be, and checked (:func:`check_file`).

    Args:
        name: of the detector.
        weights: its file, if it is known; ``None`` looks in the mirror that ``$PE_DENSE_ZOO`` names, if it is set, else
            in the hub's cache and then on the hub. What comes from a mirror's address is kept in ``model_zoo/`` of
            ``$PE_DENSE_CACHE``.
        verify: compare the SHA-256 in any case.

    Raises:
        ValueError: if no detector has the name, or the mirror is neither a folder nor an http(s) address.
        FileNotFoundError: if the file is not there and cannot be fetched.
        WeightsError: if the file has changed since its first use.
    """
    file = find_entry(name).file
    mirror = os.environ.get(MIRROR)
    if weights is not None:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"weights file {path} of {name} does not exist; give the path of {file}")
    elif mirror:
        path = _from_mirror(mirror, file)
    else:
        otherwise = f"give the file's path, or name a folder or address that has it in {MIRROR}"
        path = fetch_from_hub(REPOSITORY, file, f"of {name}", otherwise)
    check_file(path, verify)
    return path


def _from_mirror(mirror: str, file: str) -> Path:
    if urlsplit(mirror).scheme in ("http", "https"):
        target = cache_folder() / "model_zoo" / file
        if not target.is_file():
            _download(f"{mirror.rstrip('/')}/{quote(file)}", target)
        return target
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{MIRROR}={mirror} is neither a folder nor an http(s) address")
    path = folder / file
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {MIRROR} must name a folder that has it, or not be set")
    return path


def _download(url: str, target: Path) -> None:
    """Fetch to a temporary name, then rename."""
    from rich.console import Console
    from rich.progress import wrap_file

    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urlopen(url, timeout=_TIMEOUT) as answer, temporary.open("wb") as out:
            size = int(answer.headers.get("Content-Length") or 0)
            with wrap_file(answer, size, description=target.name, console=Console(stderr=True)) as body:
                shutil.copyfileobj(body, out, 1 << 20)
            if size and out.tell() != size:
                raise OSError(f"the connection ended after {out.tell()} of {size} bytes")
        text = start_of_text(temporary)
        if text is not None:
            raise OSError(f"what came is no weights file but text that starts with {text!r}, perhaps a web page")
        os.replace(temporary, target)
    except (OSError, HTTPException) as error:
        raise FileNotFoundError(
            f"could not fetch {url} ({type(error).__name__}: {error}); check {MIRROR} and the network, or copy the "
            f"file to {target} on a machine with access"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
