"""``seqinfo.ini``: what MOTChallenge says about a sequence."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path

from pe_dense.data.errors import DataError

_SECTION = "Sequence"


@dataclass(frozen=True)
class SequenceInfo:
    """A sequence's description.

    Attributes:
        name: of the sequence.
        length: number of frames.
        frame_rate: frames a second.
        width, height: of the images in pixels; 0 if the file does not say.
        image_dir: folder of the images, beside the file.
        extension: of the image files, with the dot.
    """

    name: str
    length: int
    frame_rate: float = 30.0
    width: int = 0
    height: int = 0
    image_dir: str = "img1"
    extension: str = ".jpg"


def read_seqinfo(path: str | os.PathLike[str]) -> SequenceInfo:
    """Read a ``seqinfo.ini``; only the length is required, the name is otherwise the folder's.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if it is no ini file, has no [Sequence], no seqLength, or something that should be a number is none.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; every sequence of MOTChallenge has this file")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text(encoding="utf-8-sig", errors="replace"), source=str(file))
        section = parser[_SECTION]
    except (configparser.Error, KeyError):
        raise DataError(f"{file} has no section [{_SECTION}] with lines such as seqLength=600; repair it") from None

    def number(key: str, default: float | None, least: float) -> float:
        text = section.get(key)
        if text is None and default is not None:
            return default
        try:
            value = float(text or "")
        except ValueError:
            value = float("nan")
        if not least <= value < 1e9:
            raise DataError(f"{file}: {key} is {text!r}, not a number from {least:g} on; repair the line {key}=...")
        return value

    return SequenceInfo(
        name=section.get("name", file.resolve().parent.name).strip(),
        length=int(number("seqLength", None, 1)),
        frame_rate=number("frameRate", 30.0, 1e-3),
        width=int(number("imWidth", 0, 0)),
        height=int(number("imHeight", 0, 0)),
        image_dir=section.get("imDir", "img1").strip(),
        extension=section.get("imExt", ".jpg").strip(),
    )


def write_seqinfo(path: str | os.PathLike[str], info: SequenceInfo) -> None:
    """Write a ``seqinfo.ini`` in MOTChallenge's form."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"[{_SECTION}]\nname={info.name}\nimDir={info.image_dir}\nframeRate={info.frame_rate:g}\n"
        f"seqLength={info.length}\nimWidth={info.width}\nimHeight={info.height}\nimExt={info.extension}\n",
        encoding="utf-8",
    )
