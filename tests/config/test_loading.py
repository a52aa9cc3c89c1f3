"""Python config files: what becomes a key, relative imports, and errors that leave the interpreter as it was."""

import builtins
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pe_dense.config import ConfigError, instantiate, load_config

BASE = """
from __future__ import annotations

import math
from typing import Any, Optional

import torch.nn as nn

from pe_dense.config import LazyCall as L


def helper(x):
    return 2 * x


_private = object()
width = helper(4)
ratio = 0.5
shape = (1, 2)
model = L(nn.Linear)(in_features="${width}", out_features=2)
options = dict(a=1, nested=dict(b=[1, {"c": None}]))
"""


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A folder of config files without any __init__.py."""
    (tmp_path / "common").mkdir()
    (tmp_path / "coco").mkdir()
    (tmp_path / "common" / "base.py").write_text(BASE)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_public_data_become_keys(recipes):
    cfg = load_config(recipes / "common" / "base.py")
    assert list(cfg) == ["width", "ratio", "shape", "model", "options"]
    assert cfg.shape == [1, 2]
    assert cfg.options.nested.b[1].c is None
    assert instantiate(cfg.model).in_features == 8
    assert load_config(str(recipes / "common" / "base.py")) == cfg


def test_relative_imports(recipes):
    path = write(
        recipes / "coco" / "child.py",
        "from ..common.base import model, options, _private, helper, width\n"
        "from ..common import base\n"
        "model.out_features = helper(5)\n"
        "options.nested.b = 3\n"
        "total = base.ratio + 1\n",
    )
    cfg = load_config(path)
    assert list(cfg) == ["model", "options", "width", "total"]
    assert instantiate(cfg.model).out_features == 10
    assert cfg.options.nested.b == 3
    assert cfg.total == 1.5


def test_import_star_respects_all(recipes):
    write(recipes / "some.py", "__all__ = ['a']\na = 1\nb = 2\n")
    assert list(load_config(write(recipes / "star.py", "from .some import *\nc = a"))) == ["a", "c"]
    assert list(load_config(write(recipes / "star.py", "from .common.base import *"))) == list(
        load_config(recipes / "common" / "base.py")
    )


def test_each_import_is_a_fresh_copy(recipes):
    write(recipes / "one.py", "from .common.base import options, model\noptions.a = 100\nmodel.out_features = 100\n")
    path = write(
        recipes / "two.py", "from .one import options as edited\nfrom .common.base import options, model, width"
    )
    cfg = load_config(path)
    assert cfg.edited.a == 100
    assert cfg.options.a == 1
    assert cfg.model.out_features == 2
    cfg.options.a = 7
    assert load_config(path).options.a == 1


def test_file_knows_where_it_is(recipes, monkeypatch):
    write(recipes / "here.py", "from pathlib import Path\nfolder = Path(__file__).parent")
    monkeypatch.chdir(recipes)
    assert load_config("here.py").folder == str(recipes)


class State:
    """What a failing config must leave as it was."""

    def __init__(self) -> None:
        self.values = (dict(sys.modules), list(sys.path), os.getcwd(), builtins.__import__, dict(vars(builtins)))

    def unchanged(self) -> bool:
        return self.values == State().values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n\ny = undefined\n", ":3: NameError: name 'undefined' is not defined"),
        ("x = (1\n", ":1: SyntaxError: "),
        ("import no_such_module_at_all\n", ":1: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("import sys, os\nsys.path.insert(0, '/nowhere')\nos.chdir('/')\n1 / 0\n", ":4: ZeroDivisionError: "),
        ("def f():\n    raise KeyError('k')\n\nf()\n", ":2: KeyError: 'k'"),
        ("from pe_dense.config import LazyCall as L\n\nm = L(lambda: 1)()\n", ":3: a lambda"),
        ("from pe_dense.config import LazyCall as L\ndef f(): pass\nm = L(f)()\n", ":3: 'f' cannot be imported from"),
        ("from .common.bsae import model\n", ":1: cannot import from '.common.bsae': "),
        ("from .comon.base import model\n", ":1: cannot import from '.comon.base': "),
        ("from .common.base import modle\n", ":1: cannot import 'modle' from '.common.base': "),
        ("from .common import bases\n", ":1: cannot import 'bases' from '.common': "),
        ("from .broken import x\n", ":1: cannot import from '.broken': "),
    ],
)
def test_failing_config_names_file_and_line_and_changes_nothing(recipes, text, expected):
    path = write(recipes / "bad.py", text)
    state = State()
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert f"{path}{expected}" in str(error.value)
    assert state.unchanged()


def test_missing_relative_import_names_both_files(recipes):
    path = write(recipes / "coco" / "bad.py", "\nfrom ..common.bsae import model\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value) == (
        f"{path}:2: cannot import from '..common.bsae': {recipes}/common/bsae.py does not exist; did you mean 'base'?"
    )


def test_a_recipe_copied_without_what_it_imports(recipes):
    path = write(recipes / "coco" / "bad.py", "from ..pieces.train import model\n")
    with pytest.raises(ConfigError, match=r"pieces/train\.py does not exist; .* keep a copied recipe in the folder it"):
        load_config(path)


def test_missing_name_in_relative_import(recipes):
    path = write(recipes / "bad.py", "from .common.base import modle")
    with pytest.raises(ConfigError, match=r"base\.py has no such name; did you mean 'model'\?"):
        load_config(path)


def test_error_in_an_imported_file_names_that_file(recipes):
    inner = write(recipes / "common" / "inner.py", "a = 1\nb = [][1]\n")
    with pytest.raises(ConfigError) as error:
        load_config(write(recipes / "outer.py", "from .common.inner import a\n"))
    assert str(error.value) == f"{inner}:2: IndexError: list index out of range"


def test_circular_import(recipes):
    write(recipes / "a.py", "from .b import x\n")
    with pytest.raises(ConfigError, match=r"a\.py:1: circular import of '\.b': b\.py -> a\.py -> b\.py"):
        load_config(write(recipes / "b.py", "from .a import x\n"))


def test_success_leaves_no_module_behind(recipes):
    state = State()
    load_config(write(recipes / "child.py", "from .common.base import model, width"))
    assert state.unchanged()


def test_object_at_top_level(recipes):
    path = write(recipes / "bad.py", "import torch\noptimizer = torch.zeros(2)\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: optimizer: a config cannot hold a Tensor; use numbers")
    assert "a name that starts with '_' is left out" in str(error.value)


def test_missing_file_lists_near_matches(recipes):
    with pytest.raises(ConfigError, match=r"bse\.py does not exist; did you mean 'base\.py'\?") as error:
        load_config(recipes / "common" / "bse.py")
    assert isinstance(error.value, FileNotFoundError)
    with pytest.raises(FileNotFoundError, match=r"does not exist; files there: base\.py"):
        load_config(recipes / "common" / "zzzzzz.py")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_config(recipes / "nowhere" / "base.py")


def test_paths_that_are_no_config(recipes):
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(recipes / "common")
    with pytest.raises(ConfigError, match=r"a config file ends in \.py, \.yaml or \.yml"):
        load_config(write(recipes / "x.json", "{}"))
    (recipes / "x.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="not a UTF-8 text file"):
        load_config(recipes / "x.yaml")
    (recipes / "x.py").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"x\.py:1: SyntaxError"):
        load_config(recipes / "x.py")


def test_load_validates_and_overrides(recipes):
    path = recipes / "common" / "base.py"
    assert load_config(path, ["width=3", "model.bias=false"]).model.bias is False
    with pytest.raises(ConfigError, match=r"base\.py: model\.in_features: expected int, got 'x' \(str\)"):
        load_config(path, ["width=x"])
    bad = write(recipes / "bad.py", "from .common.base import model\n")
    with pytest.raises(ConfigError, match=r"bad\.py: model\.in_features: cannot resolve .*must define, or import"):
        load_config(bad)


def test_unset_values_may_be_allowed(recipes):
    path = write(recipes / "unset.py", "from .common.base import model\nwidth = '???'\n")
    with pytest.raises(ConfigError, match=r"unset\.py: width: must be set; add width=VALUE"):
        load_config(path)
    cfg = load_config(path, allow_unset=True)
    with pytest.raises(ConfigError, match=r"^width: must be set; add width=VALUE"):
        instantiate(cfg.model)
    with pytest.raises(ConfigError, match=r"model\.out_features: expected int"):
        load_config(path, ["model.out_features=x"], allow_unset=True)


def test_saved_config_in_a_fresh_process(recipes):
    """Another process re-creates the same tree from the YAML alone."""
    script = (
        "import sys; from pe_dense.config import *; a = load_config(sys.argv[1]); save_config(a, sys.argv[2]);"
        "b = load_config(sys.argv[2]); assert a == b; print(instantiate(b.model))"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script, str(recipes / "common" / "base.py"), str(recipes / "saved.yaml")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Linear(in_features=8, out_features=2, bias=True)", done.stderr
