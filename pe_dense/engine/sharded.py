"""Checkpoint folders: every process writes its part, and the folder counts only when all of it is there.

A folder ``step_00001234`` holds torch.distributed.checkpoint's files (tensors under ``model.``, ``ema.`` and
``optimizer.`` names; any number of processes can read them), ``rank_00000.pt`` ... (what belongs to one process),
``run.pt`` (what belongs to the run), and ``COMPLETE``: sizes and checksums of all these, written last. Until then the
folder is called ``step_00001234.tmp``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as torch_dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from pe_dense.engine import distributed as dist

# a run in one process is not worth a warning
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)

RUN = "run.pt"
MARKER = "COMPLETE"
_CHUNK = 1 << 22
_STEP = re.compile(r"step_\d{8,}")


class CheckpointError(ValueError):
    """A file or folder that is not a usable checkpoint, or a checkpoint that does not fit."""


class CheckpointWriteError(OSError):
    """A checkpoint that could not be written; earlier ones are untouched."""


def step_path(folder: str | Path, step: int) -> Path:
    """``folder/step_00001234``."""
    return Path(folder) / f"step_{step:08d}"


def list_checkpoints(folder: str | Path) -> list[Path]:
    """The finished step checkpoints of a folder, oldest first."""
    return sorted((path for path in Path(folder).glob("step_*") if _STEP.fullmatch(path.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """Optimiser steps taken, by the name of a step checkpoint."""
    return int(checkpoint.name.removeprefix("step_"))


def prune(folder: str | Path, keep_last: int, step: int) -> None:
    """Remove all step checkpoints but the newest ``keep_last``, and what killed processes left half written.

    The newest is that of ``step``: a run that continues before later ones has found them damaged.
    """
    kept = [path for path in list_checkpoints(folder) if step_of(path) <= step][-keep_last:]
    for path in {*list_checkpoints(folder), *Path(folder).glob("step_*.tmp")} - {*kept}:
        shutil.rmtree(path)


class CheckpointWriter:
    """Writes step checkpoints, in the foreground or behind the training.

    Every process constructs one and calls it at the same steps.

    Args:
        folder: of all step checkpoints.
        keep_last: how many stay.
        background: return from :meth:`save` as soon as the tensors are copied to the host.
    """

    def __init__(self, folder: str | Path, keep_last: int, background: bool = False) -> None:
        self.folder, self.keep_last = Path(folder), keep_last
        self._newest: Path | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stager: DefaultStager | None = None
        self._group: torch_dist.ProcessGroup | None = None
        if background:
            cuda = torch.cuda.is_available()
            options = StagingOptions(
                use_pinned_memory=cuda, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=cuda
            )
            self._stager = DefaultStager(options)
            # collectives of the background must not mix with those of the training
            if dist.world_size() > 1:
                self._group = cast(torch_dist.ProcessGroup, torch_dist.new_group(backend="gloo"))

    def save(self, step: int, tensors: Mapping[str, Tensor], own: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
        """Write the checkpoint of a step unless it is there already; a damaged one is replaced.

        Args:
            step: optimiser steps taken.
            tensors: the same names in every process; sharded ones are DTensors.
            own: plain data of this process.
            facts: plain data of the run; the main process's counts.

        Returns:
            Whether there was anything to write.

        Raises:
            CheckpointWriteError: in every process; also for the one before, if that was written in the background.
        """
        self.wait()
        path = step_path(self.folder, step)
        if dist.broadcast_object(dist.is_main() and self._has(path)):
            return False
        self._newest = path
        if self._stager is None:
            self._write(path, dict(tensors), own, facts)
            return True
        staged = cast(dict[str, Tensor], self._stager.stage(dict(tensors)))
        self._thread = threading.Thread(target=self._write_behind, args=(path, staged, own, facts), name="checkpoint")
        self._thread.start()
        return True

    def _has(self, path: Path) -> bool:
        """A folder that another process wrote may be the damaged one before which a resumed run began."""
        if path == self._newest or not path.exists():
            return path.exists()
        try:
            check_intact(path)
        except CheckpointError:
            return False
        return True

    def wait(self) -> None:
        """Until nothing is being written; raises what went wrong in the background."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write_behind(self, *arguments: Any) -> None:
        try:
            self._write(*arguments)
        except BaseException as error:  # is raised by the next wait()
            self._error = error

    def _write(self, path: Path, tensors: dict[str, Tensor], own: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        temporary, rank = path.with_name(path.name + ".tmp"), dist.rank()
        problem: str | None = None
        sums: dict[str, tuple[int, int]] = {}
        try:
            if rank == 0:
                shutil.rmtree(temporary, ignore_errors=True)
            self._agree(None)
            # it makes the folder: an error outside of it in one process would leave the others waiting inside
            writer = dcp.FileSystemWriter(temporary)
            dcp.save(tensors, storage_writer=writer, process_group=self._group, no_dist=dist.world_size() == 1)
            write_plain(own, _own_file(temporary, rank))
            if rank == 0:
                write_plain(facts, temporary / RUN)
            sums = {file.name: checksum(file) for file in _files_of(temporary, rank)}
        except (OSError, RuntimeError, CheckpointException) as error:  # torch.save turns a full disk into RuntimeError
            problem = reason(error)
        everyone = self._agree((problem, sums))
        problems = [text for text, _ in everyone if text is not None]
        if not problems and rank == 0:
            problems = self._finish(temporary, path, {k: v for _, part in everyone for k, v in part.items()})
        problems = self._agree(problems)[0]
        if problems:
            if rank == 0:
                shutil.rmtree(temporary, ignore_errors=True)
            raise write_error(path, problems[0])

    def _finish(self, temporary: Path, path: Path, sums: Mapping[str, tuple[int, int]]) -> list[str]:
        """The main process's last step: marker, new name, old checkpoints away."""
        try:
            with open(temporary / MARKER, "w", encoding="utf-8") as file:
                json.dump({"files": sums, "world_size": dist.world_size()}, file)
                file.flush()
                os.fsync(file.fileno())
            shutil.rmtree(path, ignore_errors=True)  # a damaged one
            os.replace(temporary, path)
            _sync_folder(path.parent)
            prune(self.folder, self.keep_last, step_of(path))
        except OSError as error:
            return [reason(error)]
        return []

    def _agree(self, item: Any) -> list[Any]:
        """One object of every process."""
        if dist.world_size() == 1:
            return [item]
        gathered = [None] * dist.world_size()
        torch_dist.all_gather_object(gathered, item, group=self._group)
        return gathered


def _own_file(folder: Path, rank: int) -> Path:
    return folder / f"rank_{rank:05d}.pt"


def _files_of(folder: Path, rank: int) -> list[Path]:
    """What this process has written: sharded tensors, its own data; the main process also what concerns all."""
    files = [*folder.glob(f"__{rank}_*"), _own_file(folder, rank)]
    return [*files, folder / ".metadata", folder / RUN] if rank == 0 else files


def write_error(path: Path, reason: str) -> CheckpointWriteError:
    """What the user is told when a checkpoint could not be written."""
    try:
        free = str(shutil.disk_usage(path.parent).free // 2**20)
    except OSError:
        free = "unknown"
    return CheckpointWriteError(
        f"could not write {path} ({reason}; {free} MB free): free some space or set train.output_dir to another disk; "
        f"earlier checkpoints are intact, continue from them with --resume"
    )


def write_plain(data: Mapping[str, Any], path: Path) -> None:
    """``torch.save``, flushed to the disk."""
    with open(path, "wb") as file:
        torch.save(dict(data), file)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # makes a rename survive a power cut
    finally:
        os.close(handle)


def reason(error: BaseException) -> str:
    """The operating system's complaint behind an error, in one line."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    cause = next((e for e in (error, error.__context__, error.__cause__) if isinstance(e, OSError)), error)
    return f"{type(cause).__name__}: {cause}".splitlines()[0]


def checksum(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size = crc = 0
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return size, crc


def check_intact(path: str | Path) -> None:
    """Compare a checkpoint folder with its marker.

    Raises:
        CheckpointError: if the marker is missing (it was never finished), or a file is missing or damaged.
    """
    path = Path(path)
    try:
        files = json.loads((path / MARKER).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path} has no {MARKER} marker: it was not written to its end") from error
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({MARKER} cannot be read: {error})") from error
    for name, expected in files.items():
        try:
            found = checksum(path / name)
        except OSError as error:
            raise CheckpointError(f"checkpoint {path} is damaged ({error})") from error
        if list(found) != expected:
            raise CheckpointError(f"checkpoint {path} is damaged ({name} is not what was written)")


def read_facts(path: str | Path) -> dict[str, Any]:
    """What belongs to the run as a whole."""
    return _read_plain(Path(path) / RUN)


def read_own(path: str | Path, rank: int) -> dict[str, Any]:
    """What belonged to process ``rank``."""
    return _read_plain(_own_file(Path(path), rank))


def _read_plain(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} is not a checkpoint of this project: it has no {path.name}") from None
    except Exception as error:  # unpickling damaged data raises nearly anything
        raise CheckpointError(f"checkpoint file {path} cannot be read ({type(error).__name__}: {error})") from error
    return cast(dict[str, Any], content)


def tensor_shapes(path: str | Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and type of every tensor of a checkpoint folder, by name."""
    entries = dcp.FileSystemReader(path).read_metadata().state_dict_metadata
    return {
        name: (tuple(entry.size), entry.properties.dtype)
        for name, entry in entries.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def load_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill tensors in place, sharded ones with their shards. Called by every process with the same names."""
    dcp.load(dict(tensors), storage_reader=dcp.FileSystemReader(path), no_dist=dist.world_size() == 1)


def read_tensors(path: str | Path, prefix: str) -> dict[str, Tensor]:
    """All tensors whose name starts with ``prefix``, whole, on the CPU, in this process alone; names without it."""
    wanted = {
        name: torch.empty(shape, dtype=dtype)
        for name, (shape, dtype) in tensor_shapes(path).items()
        if name.startswith(prefix)
    }
    if wanted:
        dcp.load(wanted, storage_reader=dcp.FileSystemReader(path), no_dist=True)
    return {name.removeprefix(prefix): value for name, value in wanted.items()}
