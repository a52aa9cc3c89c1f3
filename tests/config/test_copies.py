"""A warning of changes that have no effect, because a call had copied what is changed."""

import pytest

from pe_dense.config import load_config

TARGETS = "from pe_dense.config import LazyCall as L\nfrom torch import nn\n"
INNER = TARGETS + "inner = L(nn.Linear)(in_features=3, out_features=4)\n"


@pytest.fixture
def warnings(tmp_path, caplog):
    def load(text, *overrides):
        caplog.clear()
        path = tmp_path / "recipe.py"
        path.write_text(text)
        cfg = load_config(path, overrides)
        return cfg, [record.getMessage() for record in caplog.records]

    return load


COPIED = INNER + "outer = L(nn.Identity)(args=inner)\n"


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        (COPIED + "inner.in_features = 5", []),
        (COPIED, ["inner.in_features=5"]),
        ("from .base import *\ninner.in_features = 5", []),
    ],
)
def test_change_behind_the_copy(warnings, tmp_path, text, overrides):
    (tmp_path / "base.py").write_text(COPIED)
    cfg, [message] = warnings(text, *overrides)
    assert "recipe.py: inner was changed after it had been copied into argument 'args' of L(Identity)" in message
    assert (cfg.inner.in_features, cfg.outer.args.in_features) == (5, 3)


@pytest.mark.parametrize(
    "text",
    [
        INNER + "inner.in_features = 5\nouter = L(nn.Identity)(args=inner)",
        COPIED + "outer.args.in_features = 5",
        INNER + "one = L(nn.Identity)(args=inner)\ninner.in_features = 5\nother = L(nn.Identity)(args=inner)",
        INNER + "outer = L(nn.Identity)(args='${inner}')\ninner.in_features = 5",
    ],
)
def test_changes_that_have_an_effect(warnings, text):
    cfg, messages = warnings(text)
    assert messages == []
    assert 5 in [cfg[name].args.in_features for name in cfg if name in ("outer", "other")]
