"""The folder of a run: may it be used, and what is in it when the run starts."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from pe_dense.config import save_config
from pe_dense.engine.checkpoint import BEST
from pe_dense.engine.heartbeat import read_heartbeats
from pe_dense.engine.sharded import list_checkpoints
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

OUTPUT_KEY = "train.output_dir"
"""What a message calls the run directory."""

REPLACED = "replaced_run"
"""Folder in the run directory where an earlier run stays until the one that overwrites it has taken a step."""


class RunDirectoryError(ValueError):
    """The run directory cannot be written to, or holds another run than the one that was asked for."""


def check_writable(folder: Path, key: str = OUTPUT_KEY) -> None:
    """Can files be written to ``folder``, or can it be created? Nothing is created.

    Raises:
        RunDirectoryError: naming ``key`` and what is in the way.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    if not nearest.is_dir():
        raise RunDirectoryError(f"{key} is {folder}, but {nearest} is a file: choose another {key}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunDirectoryError(
            f"{key} is {folder}, but nothing can be written to {nearest}: choose another {key}, or change the "
            f"permissions of the folder"
        )


@contextmanager
def writing_to(folder: Path, key: str = OUTPUT_KEY) -> Iterator[None]:
    """Inside, an error of the file system becomes one that names ``key``.

    Raises:
        RunDirectoryError: instead of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in (None, str(folder)) else ""
        raise RunDirectoryError(
            f"cannot write to {folder}, which is {key} ({where}{error.strerror or error}): choose another {key}"
        ) from error


def check_not_in_use(output_dir: Path) -> None:
    """Two runs at a time would mix.

    Raises:
        RunDirectoryError: if a process on this machine is training in the directory.
    """
    going_on = next((beat for beat in read_heartbeats(output_dir / "heartbeats") if beat.is_going_on), None)
    if going_on is not None:
        raise RunDirectoryError(
            f"{output_dir} holds a run that is going on ({going_on}; process {going_on.pid}): wait for its end, stop "
            f"it, or choose another {OUTPUT_KEY}"
        )


def check_fresh(output_dir: Path, overwrite: bool) -> None:
    """A new run must not mix with an earlier one, nor with files that are not a run's.

    Raises:
        RunDirectoryError: if the directory holds checkpoints and may not be overwritten, or another program's config.
    """
    saved = output_dir / "config.yaml"
    if saved.is_file() and "pe_dense." not in saved.read_text(encoding="utf-8", errors="replace"):
        raise RunDirectoryError(
            f"{saved} is not the config of a run of this project and would be overwritten: choose another {OUTPUT_KEY}"
        )
    steps, best = list_checkpoints(output_dir / "checkpoints"), output_dir / "checkpoints" / BEST
    if overwrite or not (steps or best.exists()):
        return
    found = f"{counted(len(steps), 'checkpoint')}, newest {steps[-1].name}" if steps else f"only {BEST} of it is left"
    remedy = "continue it with --resume" if steps else f"start from its weights with train.init_from={best}"
    raise RunDirectoryError(
        f"{output_dir} already holds a run ({found}): {remedy}, choose another {OUTPUT_KEY}, "
        f"or delete it with train.overwrite=true"
    )


def start_run(output_dir: Path, cfg: DictConfig, fresh: bool, overwrite: bool) -> None:
    """Create the directory with its ``config.yaml``. Called by the main process, once the run can start.

    Args:
        output_dir: the run directory; everything in it that a run does not write stays as it is.
        cfg: the config of the run.
        fresh: the run starts at step 0: curves of an earlier attempt would mix with its own.
        overwrite: an earlier run is set aside, see :func:`discard_replaced` and :func:`bring_back_replaced`.

    Raises:
        RunDirectoryError: if it cannot be written.
    """
    with writing_to(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        if fresh and overwrite:
            _set_aside(output_dir)
        elif fresh:
            for path in output_dir.glob("tensorboard/events.*"):
                path.unlink()
        save_config(cfg, output_dir / "config.yaml")


def _set_aside(output_dir: Path) -> None:
    """Move what an earlier run has written to :data:`REPLACED`."""
    checkpoints = output_dir / "checkpoints"
    steps, best = list_checkpoints(checkpoints), checkpoints / BEST
    found = [*steps, best, *checkpoints.glob("*.tmp"), *output_dir.glob("tensorboard/events.*")]
    found += [*output_dir.glob("nonfinite_step_*.pt"), *output_dir.glob("heartbeats/*")]
    found += [output_dir / name for name in ("log.txt", "metrics.jsonl", "config.yaml")]
    for path in found:
        if path.exists():
            _move(path, output_dir / REPLACED / path.relative_to(output_dir))
    if steps or best.exists():
        logger.info("the run that is overwritten stays in %s until the first step is done", output_dir / REPLACED)


def discard_replaced(output_dir: Path) -> None:
    """Delete the earlier run that :func:`start_run` has set aside."""
    aside = output_dir / REPLACED
    doomed = aside.with_suffix(".tmp")
    with writing_to(output_dir):
        if doomed.exists():
            shutil.rmtree(doomed)
        if aside.exists():
            os.replace(aside, doomed)  # half a run must never be brought back
            shutil.rmtree(doomed)


def bring_back_replaced(output_dir: Path) -> None:
    """Put an earlier run that was set aside, and not discarded, back into its place, over what its successor wrote.

    A start that was killed leaves it there; the next one calls this before it looks for checkpoints.
    """
    aside = output_dir / REPLACED
    if not aside.is_dir():
        return
    with writing_to(output_dir):
        for path in sorted(aside.glob("*")):
            # the folders of a run hold files, and steps, which the successor had none of
            for entry in sorted(path.iterdir()) if path.is_dir() else [path]:
                _move(entry, output_dir / entry.relative_to(aside))
        shutil.rmtree(aside)
    logger.warning("a run that was to overwrite the one in %s took no step: the earlier one is back", output_dir)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or as it was.

    Raises:
        OSError: if that cannot be done.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, target)
