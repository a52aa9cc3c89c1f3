"""What happens without detectron2; runs everywhere."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import pe_dense.interop

ROOM = "pe_dense.interop.detectron2"


@pytest.fixture
def forgotten(monkeypatch):
    """Neither the room nor detectron2 has been imported."""
    for name in list(sys.modules):
        if name.startswith(ROOM) or name.partition(".")[0] == "detectron2":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(pe_dense.interop, "detectron2", raising=False)


def test_only_the_room_imports_detectron2():
    root = Path(pe_dense.interop.__file__).parents[1]
    room = root / "interop" / "detectron2"
    files = [path for path in root.rglob("*.py") if room not in path.parents]
    assert len(files) > 100
    wrong = [str(p) for p in files if re.search(rf"(from|import) (detectron2\b|{ROOM})", p.read_text(encoding="utf-8"))]
    assert not wrong


def test_without_detectron2(forgotten, monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(
        ImportError, match=r"needs detectron2, which is not installed in this environment; .* how to get"
    ):
        importlib.import_module(ROOM)


def test_beside_a_clone(forgotten, monkeypatch, tmp_path):
    """Whose outer folder, without code of its own, is a package to Python."""
    (tmp_path / "detectron2" / "docs").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(p for p in sys.path if not Path(p, "detectron2").is_dir())])
    with pytest.raises(ImportError, match="needs detectron2, which is not installed"):
        importlib.import_module(ROOM)


def test_with_one_that_is_broken(forgotten, monkeypatch, tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").touch()
    (tmp_path / "detectron2" / "data.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ImportError, match=r"cannot be imported \(No module named 'nothing_of_this_name'\): install what"
    ):
        importlib.import_module(ROOM)
