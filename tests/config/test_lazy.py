"""Call nodes: what they hold, and what is refused at once."""

import functools
from enum import Enum
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from torch import nn

from pe_dense.config import ConfigError, LazyCall, instantiate, to_yaml
from pe_dense.config import LazyCall as L

from .targets import Backbone, Odd, Resize, Settings, unannotated


def test_node_holds_plain_data():
    node = L(Backbone)(embed_dim=8, norm_layer=nn.BatchNorm2d, size=(4, 6), weights=Path("a/b.pt"))
    assert isinstance(node, DictConfig)
    assert OmegaConf.to_container(node) == {
        "_target_": "config.targets.Backbone",
        "embed_dim": 8,
        "norm_layer": {"_ref_": "torch.nn.modules.batchnorm.BatchNorm2d"},
        "size": [4, 6],
        "weights": "a/b.pt",
    }
    assert node.embed_dim == 8


def test_targets_of_every_kind():
    assert L(Backbone.tiny)()._target_ == "config.targets.Backbone.tiny"
    assert L(unannotated)()._target_ == "config.targets.unannotated"
    assert L(nn.functional.relu)()._target_ == "torch.nn.functional.relu"
    assert L(dict)(a=1)._target_ == "builtins.dict"
    assert instantiate(L(Backbone.tiny)(depth=3)).arguments["depth"] == 3


def test_nested_nodes_and_later_edits():
    model = L(nn.Linear)(in_features=2, out_features=3)
    holder = L(unannotated)(value=[{"deep": [model]}])
    holder.value[0].deep[0].out_features = 5
    assert model.out_features == 3, "a node is copied into another one"
    assert instantiate(holder)[0]["deep"][0].out_features == 5
    model._target_ = nn.Bilinear
    model.in1_features = 2
    assert "torch.nn.modules.linear.Bilinear" in to_yaml(model)


def test_class_assigned_in_python():
    node = L(Backbone)(embed_dim=8)
    node.norm_layer = nn.Identity
    assert instantiate(node).arguments["norm_layer"] is nn.Identity
    assert "{_ref_: torch.nn.modules.linear.Identity}" in to_yaml(node)
    node._target_ = Resize  # OmegaConf would take a dataclass for a schema
    assert to_yaml(node).startswith("_target_: config.targets.Resize")


def test_lambda_and_local_targets_are_refused():
    def local():
        return 1

    class Local:
        pass

    with pytest.raises(ConfigError, match=r"a lambda .* cannot be used in a config; define it at the top level"):
        L(lambda: 1)
    for target in (local, Local):
        with pytest.raises(ConfigError, match="is local to a function"):
            L(target)
    with pytest.raises(ConfigError, match="argument 'norm_layer' of L\\(Backbone\\): a lambda"):
        L(Backbone)(norm_layer=lambda: 1)


@pytest.mark.parametrize("target", [functools.partial(unannotated), nn.Identity(), "config.targets.Odd", 3])
def test_target_that_is_not_a_class_or_function(target):
    with pytest.raises(ConfigError, match="is not a class or a function"):
        LazyCall(target)


def test_method_of_an_object_is_refused():
    with pytest.raises(ConfigError, match=r"'Resize\.apply' of an object cannot be used in a config"):
        L(Resize().apply)


def test_positional_argument_is_refused():
    with pytest.raises(ConfigError, match=r"L\(Resize\) takes keyword arguments only, got 5; write argument=value"):
        L(Resize)(5)
    with pytest.raises(ConfigError, match="'_target_' is the target itself"):
        L(Resize)(_target_=5)


def test_values_a_config_cannot_hold():
    class Color(str, Enum):
        RED = "red"

    for value, name in (
        (nn.Identity(), "Identity"),
        ({1, 2}, "set"),
        (Color.RED, "Color"),
        (Settings("a"), "Settings"),
    ):
        with pytest.raises(ConfigError, match=rf"argument 'value' of L\(unannotated\).*{name}"):
            L(unannotated)(value=value)
    with pytest.raises(ConfigError, match=r"argument 'value' of L\(unannotated\)\.a\.1: a config cannot hold a object"):
        L(unannotated)(value={"a": [1, object()]})


def test_keys_that_are_also_dictconfig_methods():
    node = L(Odd)(items=3, keys="k", get=[1], pop=True)
    assert instantiate(node).arguments == (3, "k", [1], True)


def test_target_survives_a_merge():
    merged = OmegaConf.merge(L(Resize)(size=4), {"size": 9})
    assert instantiate(merged) == Resize(size=9)
