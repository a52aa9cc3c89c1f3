"""Which files to predict, and what their pictures are called."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pe_dense.data.image_folder import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"})


@dataclass(frozen=True)
class InputFile:
    """One image or video.

    Attributes:
        path: absolute.
        name: path below the deepest folder that holds all inputs, with ``/``.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether the name ends like a video's; everything else is read as an image."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(entries: Sequence[str | os.PathLike[str]], output_dir: Path) -> tuple[Path, list[InputFile]]:
    """Files that the user means, each once, in the order given.

    Args:
        entries: image and video files (of any name), folders (the images and videos directly in them, by name) and
            patterns (``"photos/**/*"``: the images and videos among the matches).
        output_dir: pictures of an earlier run in it do not count as matches of a pattern that starts above it.

    Returns:
        The deepest folder that holds all of them, and the files.

    Raises:
        FileNotFoundError: if an entry matches nothing, naming it.
    """
    paths = [path for entry in entries for path in _expand(Path(entry).expanduser(), output_dir)]
    absolute = list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
    if not absolute:
        raise FileNotFoundError("the list of inputs is empty; give images, videos, folders or patterns")
    root = Path(os.path.commonpath([path.parent for path in absolute]))
    return root, [InputFile(path, path.relative_to(root).as_posix()) for path in absolute]


def name_outputs(files: Sequence[InputFile], image_suffix: str) -> list[str]:
    """A path below the output folder for the picture or video of each file; no two are alike.

    ``a/x.jpg`` becomes ``a/x.png``; when ``a/x.webp`` is there too, they become ``a/x_jpg.png`` and ``a/x_webp.png``.
    Names that differ in case only count as alike, as they are on some file systems.
    """
    wanted = [_stem(f.name) + (".mp4" if f.is_video else image_suffix) for f in files]
    often = Counter(name.casefold() for name in wanted)
    taken = {name for name, count in often.items() if count == 1}
    names = []
    for file, name in zip(files, wanted):
        if often[name.casefold()] > 1:
            stem = f"{_stem(file.name)}_{file.path.suffix.lstrip('.')}".rstrip("_")
            suffix = Path(name).suffix
            choices = (f"{stem}{'' if n == 1 else f'_{n}'}{suffix}" for n in range(1, len(files) + 2))
            name = next(choice for choice in choices if choice.casefold() not in taken)
            taken.add(name.casefold())
        names.append(name)
    return names


def check_no_input_is_overwritten(files: Sequence[InputFile], outputs: Sequence[Path]) -> None:
    """Refuse to draw over an input.

    Raises:
        ValueError: naming the first such file.
    """
    inputs = {file.path.resolve() for file in files}
    for output in outputs:
        if output.resolve() in inputs:
            raise ValueError(f"the output {output} would overwrite an input; choose another output folder")


def check_output_folder(files: Sequence[InputFile], output_dir: Path) -> None:
    """Refuse to write among the inputs, where the next run would take the pictures for inputs.

    Raises:
        ValueError: naming the folder.
    """
    if output_dir.resolve() in {file.path.resolve().parent for file in files}:
        raise ValueError(f"the output folder {output_dir} holds inputs; choose another one, such as {output_dir}_drawn")


def _stem(name: str) -> str:
    return name[: len(name) - len(Path(name).suffix)]


def _expand(entry: Path, output_dir: Path) -> list[Path]:
    if entry.is_dir():
        files = sorted(f for f in entry.iterdir() if _is_wanted(f))
        if not files:
            raise FileNotFoundError(
                f"folder {entry} holds no image or video; for folders within it, give the pattern '{entry}/**/*'"
            )
        return files
    if entry.is_file():
        return [entry]
    start = Path(os.path.abspath(_fixed_part(entry)))
    output = Path(os.path.abspath(output_dir))
    matches = sorted(f for f in map(Path, glob.glob(str(entry), recursive=True)) if _is_wanted(f))
    if start in output.parents:
        matches = [match for match in matches if output not in Path(os.path.abspath(match)).parents]
    if not matches:
        raise FileNotFoundError(f"no image, video, folder or pattern match: {entry}; check the path")
    return matches


def _fixed_part(pattern: Path) -> Path:
    """The folder that a pattern starts from."""
    return next((folder for folder in pattern.parents if not glob.has_magic(str(folder))), Path())


def _is_wanted(path: Path) -> bool:
    if path.name.startswith("."):  # also macOS's "._photo.jpg", which is no image
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and path.is_file()
