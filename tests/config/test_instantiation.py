"""Making the calls, and freezing what a run fixes."""

import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from torch import nn

from pe_dense.config import ConfigError, freeze_constants, instantiate, validate
from pe_dense.config import LazyCall as L
from pe_dense.config.lazy import make_node

from . import targets
from .targets import Backbone, Detector, Resize, Settings, build_loader, count, failing, open_file, strict_loader


def test_recursive_with_interpolation():
    cfg = make_node(
        {
            "model": L(Detector)(backbone=L(Backbone)(embed_dim="${width}"), num_classes=3, tags=["a", "b"]),
            "width": 16,
        }
    )
    model = instantiate(cfg.model)
    assert isinstance(model, Detector)
    assert model.backbone.arguments["embed_dim"] == 16
    assert model.tags == ["a", "b"]
    assert type(model.tags) is list


def test_annotations_decide_the_python_type():
    backbone = instantiate(L(Backbone)(embed_dim=1, size=(2, 3), weights="w.pt"))
    assert backbone.arguments["size"] == (2, 3)
    assert backbone.arguments["weights"] == "w.pt", "str comes first in `str | Path | None`"
    settings = instantiate(L(Settings)(output_dir="out", names=["a"], rates={"x": 1}, pair=[1, 2]))
    assert settings.output_dir == Path("out")
    assert settings.names == {"a"}
    assert settings.pair == (1, 2)
    assert instantiate(L(Resize)(scale=[0.5, 2])).scale == (0.5, 2)
    resizes, path = instantiate(L(strict_loader)(resize=[L(Resize)(size=2)], path="x/y"))
    assert resizes == [Resize(2)]
    assert path == Path("x/y")


def test_references_and_containers():
    built = instantiate(
        {"norm": nn.LayerNorm, "list": [L(Resize)(), None, 1.5, [L(Resize)(size=1)]], "plain": {"a": 1}}
    )
    assert built == {"norm": nn.LayerNorm, "list": [Resize(), None, 1.5, [Resize(1)]], "plain": {"a": 1}}
    assert type(built["plain"]) is dict
    assert instantiate(3) == 3


def test_messages_tell_which_keys_the_arguments_are_from():
    cfg = make_node(
        {
            "data": {"json": "./a.json", "size": 3, "root": "images"},
            "loader": L(build_loader)(
                transforms=[],
                dataset=L(open_file)(json_file="${data.json}", size="${data.size}", image_root="${data.root}"),
            ),
            "names": L(open_file)(json_file="b.json", size="${data.size}", image_root="x"),
        }
    )
    with pytest.raises(FileNotFoundError) as error:
        instantiate(cfg.loader)
    told = "a.json is missing; set size, not image_root (in the config json_file is ${data.json}, size is ${data.size})"
    assert str(error.value) == told
    with pytest.raises(FileNotFoundError, match=r"^b\.json .* \(in the config size is \${data\.size}\)$"):
        instantiate(cfg.names)
    cfg.data.update(json="${data.folder}/d.json", size="${sizes.0}", folder="here", root="${data.json}")
    cfg.sizes = [3]
    cfg.again = L(open_file)(json_file="${loader.dataset.json_file}", size="${data.size}", image_root="x")
    with pytest.raises(FileNotFoundError) as error:  # what the user sets is the last key on the way
        instantiate(cfg.again)
    assert str(error.value).endswith("(in the config json_file is ${data.folder}/d.json, size is ${sizes.0})")
    with pytest.raises(FileNotFoundError, match=r"^c\.json is missing; set size, not image_root$"):
        instantiate(L(open_file)(json_file="c.json", size=1, image_root="x"))


def test_extra_arguments():
    node = L(Resize)(size=3)
    assert instantiate(node, scale=(9.0,)) == Resize(3, (9.0,))
    assert instantiate(node, size=7).size == 7
    assert node.size == 3
    marker = object()
    assert instantiate(L(build_loader)(), transforms=[marker])["transforms"] == [marker]
    with pytest.raises(ConfigError, match=r"sise: Resize has no argument 'sise'; did you mean 'size'"):
        instantiate(node, sise=7)
    with pytest.raises(ConfigError, match=r"extra arguments \(size\) need a call node"):
        instantiate(make_node({"a": node}), size=7)


def test_nothing_is_built_when_an_argument_is_missing():
    before = Backbone.built
    node = L(Detector)(backbone=L(Backbone)(embed_dim=4), tags=[1])
    with pytest.raises(ConfigError) as error:
        instantiate(node)
    assert "num_classes: required by Detector but not set" in str(error.value)
    assert "tags.0: expected str, got 1 (int)" in str(error.value)
    assert Backbone.built == before


def test_error_of_a_target_passes_unchanged_with_its_key_logged(caplog):
    cfg = make_node({"a": {"b": [L(failing)(reason="disk on fire")]}})
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="disk on fire"):
        instantiate(cfg)
    assert "building a.b.0 (failing) failed" in caplog.text


def test_freeze_constants(monkeypatch):
    monkeypatch.setenv("PE_DENSE_TEST_ROOT", "/data")
    cfg = make_node(
        {
            "json": "abcd",
            "model": L(Detector)(backbone=L(Backbone.tiny)(), num_classes=L(count)(path="${json}")),
            "same": "${model.num_classes}",
            "root": "${oc.env:PE_DENSE_TEST_ROOT}/coco",
            "list": [L(count)(path="abc"), {"deep": L(count)(path="ab")}],
        }
    )
    validate(cfg)
    assert instantiate(cfg.model).num_classes == 4
    assert freeze_constants(cfg) is cfg
    assert cfg.model.num_classes == 4
    assert cfg.same == 4
    assert list(cfg.list) == [3, {"deep": 2}]
    assert cfg.model.backbone._target_.endswith("Backbone.tiny"), "other calls stay"
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert raw["same"] == "${model.num_classes}"
    assert raw["root"] == "/data/coco"


def test_constant_that_a_config_cannot_hold():
    cfg = make_node({"a": {"b": L(targets.broken_constant)()}})
    with pytest.raises(ConfigError, match=r"a\.b: a config cannot hold a object"):
        freeze_constants(cfg)
