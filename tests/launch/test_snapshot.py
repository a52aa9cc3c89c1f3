"""The copy of the code that a job runs."""

import subprocess
from pathlib import Path

import pytest

from pe_dense.launch.snapshot import LARGEST_UNTRACKED, SnapshotError, git, take_snapshot


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    files = {"pe_dense/__init__.py": "a = 1\n", "pe_dense/b.py": "", "gone.py": "", ".gitignore": "/ignored\n"}
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (source / "link").symlink_to("gone.py")
    git(tmp_path, "init", "-q", "source")
    git(source, "add", "-A")
    git(source, "-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "-m", "first")
    return source


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_clean_repository(repository: Path, tmp_path: Path) -> None:
    snapshot = take_snapshot(tmp_path / "run" / "snapshot", repository)
    assert snapshot.commit == git(repository, "rev-parse", "HEAD").strip()
    assert not snapshot.dirty
    assert contents(snapshot.path) == {
        "pe_dense/__init__.py", "pe_dense/b.py", "gone.py", "link", ".gitignore", "commit.txt"
    }  # fmt: skip
    assert (snapshot.path / "link").is_symlink()
    assert not (tmp_path / "run" / "uncommitted.diff").exists()


def test_changes_are_copied_and_can_be_told_from_the_commit(repository: Path, tmp_path: Path) -> None:
    (repository / "pe_dense/__init__.py").write_text("a = 2\n")
    (repository / "gone.py").unlink()
    (repository / "new file.py").write_text("new\n")
    (repository / "ignored").write_text("x")
    with (repository / "weights.bin").open("wb") as file:
        file.truncate(LARGEST_UNTRACKED + 1)
    (repository / "runs/a/slurm").mkdir(parents=True)
    (repository / "runs/a/slurm/job.json").write_text("{}")
    (repository / "runs/a/log.txt").write_text("x")
    index = (repository / ".git/index").read_bytes()

    snapshot = take_snapshot(tmp_path / "run" / "snapshot", repository)
    assert snapshot.dirty
    assert contents(snapshot.path) == {
        "pe_dense/__init__.py", "pe_dense/b.py", "new file.py", "link", ".gitignore", "commit.txt"
    }  # fmt: skip
    assert (snapshot.path / "pe_dense/__init__.py").read_text() == "a = 2\n"
    assert (repository / ".git/index").read_bytes() == index

    # commit + diff = what runs
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(repository), str(again))
    git(again, "apply", str(tmp_path / "run" / "uncommitted.diff"))
    assert contents(again) - {p for p in contents(again) if p.startswith(".git/")} == contents(snapshot.path) - {
        "commit.txt"
    }
    assert (again / "new file.py").read_text() == "new\n"

    (repository / "new file.py").unlink()
    assert "new file.py" not in contents(take_snapshot(tmp_path / "run" / "snapshot", repository).path)


def test_without_git(tmp_path: Path) -> None:
    (tmp_path / "site-packages/pe_dense/__pycache__").mkdir(parents=True)
    (tmp_path / "site-packages/pe_dense/__init__.py").write_text("")
    (tmp_path / "site-packages/pe_dense/__pycache__/x.pyc").write_text("")
    (tmp_path / "site-packages/other.py").write_text("")
    snapshot = take_snapshot(tmp_path / "run" / "snapshot", tmp_path / "site-packages")
    assert contents(snapshot.path) == {"pe_dense/__init__.py", "commit.txt"}
    assert snapshot.commit is None


def test_unreadable_source_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(SnapshotError, match=r"the code in .*nowhere could not be copied to .*old \("):
        take_snapshot(tmp_path / "old", tmp_path / "nowhere")
    assert (tmp_path / "old").is_dir()
    assert not (tmp_path / "old.tmp").exists()


def test_git_fails(repository: Path, tmp_path: Path) -> None:
    (repository / ".git/index").write_bytes(b"broken")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "ls-files")
    assert take_snapshot(tmp_path / "snapshot", repository).commit is None  # git cannot list them: the package only
