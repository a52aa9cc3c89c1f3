"""YAML that re-creates the tree, and the tree for the terminal."""

import math

import pytest
import yaml
from omegaconf import OmegaConf
from torch import nn

from pe_dense.config import ConfigError, format_config, from_yaml, instantiate, load_config, save_config, to_yaml
from pe_dense.config import LazyCall as L
from pe_dense.config.lazy import make_node

from .targets import Backbone, Detector, Odd, Resize, build_loader


@pytest.fixture
def cfg():
    return make_node(
        {
            "model": L(Detector)(backbone=L(Backbone)(embed_dim="${width}", norm_layer=nn.BatchNorm2d), num_classes=3),
            "loader": {"train": L(build_loader)(transforms=[L(Resize)(size=4), L(Resize)()], options=[[1, 2], []])},
            "width": 8,
            "strings": [
                "yes",
                "1e-4",
                "null",
                "~",
                "007",
                "0x1f",
                "12:30",
                "2024-01-01",
                "a: b",
                "",
                "é",
                " x",
                "true",
            ],
            "numbers": [1e-4, -0.5, 1e20, 3, -7, True, False, None, math.inf, 1.0],
            "empty": {},
            "odd": L(Odd)(items=3),
            3: {"int": "key"},
        }
    )


def test_round_trip(cfg, tmp_path):
    path = tmp_path / "config.yaml"
    save_config(cfg, path)
    loaded = load_config(path)
    assert loaded == cfg
    assert OmegaConf.to_container(loaded, resolve=False) == OmegaConf.to_container(cfg, resolve=False)
    for mine, theirs in zip(cfg.numbers, loaded.numbers):
        assert type(mine) is type(theirs)
    assert to_yaml(loaded) == to_yaml(cfg)
    assert instantiate(loaded.model).backbone.arguments == instantiate(cfg.model).backbone.arguments


def test_yaml_is_plain(cfg):
    text = to_yaml(cfg)
    assert "embed_dim: ${width}" in text, "interpolations are kept"
    assert "norm_layer: {_ref_: torch.nn.modules.batchnorm.BatchNorm2d}" in text
    assert "!!" not in text
    assert yaml.safe_load(text)["model"]["_target_"] == "config.targets.Detector"


def test_value_that_cannot_be_saved(cfg):
    cfg.model.score = lambda: 1
    with pytest.raises(ConfigError, match=r"model\.score: a lambda"):
        to_yaml(cfg)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [1\n", "saved.yaml:3: not valid YAML"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "saved.yaml:4: not valid YAML: key 'c' appears twice"),
        ("- 1\n", "saved.yaml: a config must be a mapping of names, got list"),
        ("", "saved.yaml: a config must be a mapping of names, got NoneType"),
        ("a: !!python/name:os.system\n", "saved.yaml:1: not valid YAML"),
        ("m: {_target_: config.targets.Resise}\n", "saved.yaml: m._target_: cannot import 'config.targets.Resise'"),
        ("m: {_target_: config.targets.Resize, sise: 1}\n", "saved.yaml: m.sise: Resize has no argument 'sise'"),
    ],
)
def test_bad_yaml(tmp_path, text, expected):
    path = tmp_path / "saved.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).startswith(str(tmp_path))
    assert expected in str(error.value)


def test_text_without_a_file():
    assert from_yaml("a: 1").a == 1
    with pytest.raises(ConfigError, match=r"checkpoint\.pt:1: not valid YAML"):
        from_yaml("a: [", origin="checkpoint.pt")


def test_format_shows_what_must_be_set():
    cfg = make_node({"data": {"json": "???"}, "a": L(Resize)(size="${data.json}"), "b": ["${data.json}/x", {"c": 1}]})
    assert format_config(cfg) == "data:\n  json: ???\na: Resize\n  size: ???\nb:\n  - ???\n  -\n    c: 1"


def test_format_is_a_resolved_tree(cfg):
    del cfg["strings"], cfg["numbers"]
    assert format_config(cfg) == (
        "model: Detector\n"
        "  backbone: Backbone\n"
        "    embed_dim: 8\n"
        "    norm_layer: <BatchNorm2d>\n"
        "  num_classes: 3\n"
        "loader:\n"
        "  train: build_loader\n"
        "    transforms:\n"
        "      - Resize\n"
        "        size: 4\n"
        "      - Resize()\n"
        "    options:\n"
        "      - [1, 2]\n"
        "      - []\n"
        "width: 8\n"
        "empty: {}\n"
        "odd: Odd\n"
        "  items: 3\n"
        "3:\n"
        "  int: key"
    )
    assert format_config(cfg.model.backbone) == "embed_dim: 8\nnorm_layer: <BatchNorm2d>"
