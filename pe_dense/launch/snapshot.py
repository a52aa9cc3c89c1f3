"""The code of a job: a copy made when it is submitted, so that later edits do not reach it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the package ``pe_dense``."""

LARGEST_UNTRACKED = 10 * 2**20
DIFF = "uncommitted.diff"
_COMMIT = "commit.txt"


class SnapshotError(OSError):
    """The code could not be copied."""


@dataclass(frozen=True)
class Snapshot:
    """A copy of the code.

    Attributes:
        path: its folder; the package is in ``path/pe_dense``.
        commit: the git commit it is based on; None without git.
        dirty: it differs from the commit; then ``uncommitted.diff`` beside it is the difference.
    """

    path: Path
    commit: str | None
    dirty: bool


def take_snapshot(destination: Path, source: Path = ROOT) -> Snapshot:
    """Copy the code below ``source`` to ``destination``, which is replaced.

    In a git repository: all tracked files and all untracked ones that git does not ignore, as they are in the working
    tree; of the latter not those over 10 MB and not the files of runs. Without git: the package only.

    Raises:
        SnapshotError: naming the file that cannot be read or written.
    """
    temporary = destination.with_name(destination.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        if is_repository(source):
            new = _new_files(source)
            _copy_files(source, [*_listed(source, "--cached"), *new], temporary)
            commit: str | None = git(source, "rev-parse", "HEAD").strip()
            diff = _uncommitted(source, new)
        else:
            shutil.copytree(source / "pe_dense", temporary / "pe_dense", ignore=shutil.ignore_patterns("__pycache__"))
            commit, diff = None, ""
        (temporary / _COMMIT).write_text(f"{commit or 'not in a git repository'}\n", encoding="utf-8")
        beside = destination.with_name(DIFF)
        beside.unlink(missing_ok=True)
        if diff:
            beside.write_text(diff, encoding="utf-8", errors="surrogateescape")
        shutil.rmtree(destination, ignore_errors=True)
        os.replace(temporary, destination)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = str(error.args[0][0][2] if isinstance(error, shutil.Error) else getattr(error, "stderr", "") or error)
        raise SnapshotError(f"the code in {source} could not be copied to {destination} ({reason.strip()})") from error
    return Snapshot(destination, commit, bool(diff))


def is_repository(source: Path) -> bool:
    """True if the package below ``source`` is under git's control, with at least one commit."""
    try:
        git(source, "rev-parse", "--verify", "HEAD")
        return bool(git(source, "ls-files", "pe_dense/__init__.py"))
    except (OSError, subprocess.CalledProcessError):
        return False


def git(folder: Path, *arguments: str, **environment: str) -> str:
    """Output of a git command, run in ``folder``."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, check=True, text=True, errors="surrogateescape",
        env={**os.environ, **environment},
    )  # fmt: skip
    return done.stdout


def _copy_files(source: Path, paths: Sequence[str], destination: Path) -> None:
    for path in paths:
        original, copy = source / path, destination / path
        if not os.path.lexists(original):
            continue  # deleted, but not yet from git
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_dir() and not original.is_symlink():  # a repository within the repository
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns(".git", "__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy2(original, copy, follow_symlinks=False)


def _listed(source: Path, *which: str) -> list[str]:
    return [path for path in git(source, "ls-files", "-z", *which).split("\0") if path]


def _new_files(source: Path) -> list[str]:
    """Untracked files that belong to the code: neither large nor written by a run."""
    runs: dict[Path, bool] = {}
    new = []
    for path in _listed(source, "--others", "--exclude-standard"):
        full = source / path
        if any(_is_run(folder, runs) for folder in full.parents):
            continue
        if full.is_file() and full.stat().st_size > LARGEST_UNTRACKED:
            megabytes = LARGEST_UNTRACKED // 2**20
            logger.warning("%s is over %d MB and unknown to git: the job will not have it", full, megabytes)
            continue
        new.append(path)
    return new


def _is_run(folder: Path, known: dict[Path, bool]) -> bool:
    if folder not in known:
        known[folder] = (folder / "slurm" / "job.json").is_file() or (
            (folder / "metrics.jsonl").is_file() and (folder / "config.yaml").is_file()
        )
    return known[folder]


def _uncommitted(source: Path, new: Sequence[str]) -> str:
    """``git diff`` against the last commit, new files included; the index of the repository is not touched."""
    new = [path for path in new if (source / path).is_file()]
    index = Path(git(source, "rev-parse", "--absolute-git-dir").strip()) / "index"
    with tempfile.TemporaryDirectory(prefix="pe_dense_index_") as folder:
        copy = Path(folder) / "index"
        shutil.copy2(index, copy)
        for first in range(0, len(new), 200):  # an argument list has a limit
            git(source, "add", "--intent-to-add", "--", *new[first : first + 200], GIT_INDEX_FILE=str(copy))
        return git(source, "diff", "--binary", "HEAD", "--", ".", GIT_INDEX_FILE=str(copy))
