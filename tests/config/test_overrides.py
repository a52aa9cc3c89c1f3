"""Changes from the command line."""

import pytest
from torch import nn

from pe_dense.config import ConfigError, apply_overrides, instantiate, settings_first, validate
from pe_dense.config import LazyCall as L
from pe_dense.config.lazy import make_node

from .targets import Backbone, Detector, Odd, Resize, Settings, build_loader


@pytest.fixture
def cfg():
    return make_node(
        {
            "model": L(Detector)(backbone=L(Backbone)(embed_dim="${width}"), num_classes=3),
            "loader": {"train": L(build_loader)(transforms=[L(Resize)(size=4), L(Resize)()])},
            "train": L(Settings)(output_dir="out", epochs=2),
            "alias": "${model}",
            "width": 8,
            "odd": L(Odd)(items=1),
            "plain": {"get": 1, "none": None},
        }
    )


def failure(cfg, *overrides):
    with pytest.raises(ConfigError) as error:
        apply_overrides(cfg, overrides)
    return str(error.value)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.epochs=7", "epochs", 7),
        ("train.amp=true", "amp", True),
        ("train.name=yes", "name", "yes"),
        ("train.name=a=b", "name", "a=b"),
        ("train.name=", "name", ""),
        ("train.name='5'", "name", "5"),
        ("train.name=2024-01-01", "name", "2024-01-01"),
        ("train.rates={a: 1e-4, b: 1_000}", "rates", {"a": 1e-4, "b": 1000}),
        ("train.pair=[1, 2]", "pair", [1, 2]),
        ("train.activation=null", "activation", None),
        ("train.name=${oc.env:HOME}", "name", __import__("os").environ.get("HOME", "")),
    ],
)
def test_values_are_yaml(cfg, override, key, value):
    assert apply_overrides(cfg, [override]) is cfg
    assert cfg.train[key] == value
    assert type(cfg.train[key]) is type(value) or isinstance(value, (dict, list))
    validate(cfg)


def test_list_entries_by_index(cfg):
    apply_overrides(cfg, ["loader.train.transforms.0.size=512", "loader.train.transforms[1].scale=[2.0]"])
    apply_overrides(cfg, ["loader.train.transforms.-1.size=3"])
    assert instantiate(cfg.loader.train)["transforms"] == [Resize(512), Resize(3, (2.0,))]


def test_argument_of_the_target_that_the_config_does_not_mention(cfg):
    apply_overrides(cfg, ["model.backbone.depth=5", "loader.train.anything=1"])
    assert instantiate(cfg.model).backbone.arguments["depth"] == 5
    assert instantiate(cfg.loader.train)["anything"] == 1


def test_unknown_keys_say_what_was_meant(cfg):
    assert failure(cfg, "train.epoch=3") == (
        "override 'train.epoch=3': Settings has no argument 'epoch'; did you mean 'train.epochs'? (accepted: "
        "output_dir, epochs, amp, name, names, rates, activation, precise, later, pair)"
    )
    assert "the config has no key 'trian'; did you mean 'train'?" in failure(cfg, "trian.epochs=3")
    assert "Detector has no argument 'bakcbone'; did you mean 'model.backbone'?" in failure(
        cfg, "model.bakcbone.depth=1"
    )
    text = failure(cfg, "loader.tarin=3")
    assert "'loader' has no key 'tarin'; did you mean 'loader.train'?" in text
    assert "write '+loader.tarin=...' to add it" in text
    assert "'loader.train.transforms' has 2 entries, so there is no 'loader.train.transforms.2'" in failure(
        cfg, "loader.train.transforms.2.size=1"
    )
    assert "'plain.list' has 1 entry, so" in failure(cfg, "+plain.list=[1]", "plain.list.1=2")
    assert "'width' is 8, which has no key 'x'" in failure(cfg, "width.x=1")
    assert "'train.activation' is not set in the config, so nothing below it can be set" in failure(
        cfg, "train.activation.x=1"
    )


def test_wrong_types_name_key_type_and_value(cfg):
    text = failure(cfg, "train.epochs=many", "train.amp=1", "width=3")
    assert text.startswith("2 errors in the config:")
    assert "override 'train.epochs=many': train.epochs: expected int, got 'many' (str)" in text
    assert "override 'train.amp=1': train.amp: expected bool, got 1 (int)" in text
    assert "train.epochs: expected int, got None" in failure(cfg, "train.epochs=null")


def test_add_on_purpose(cfg):
    apply_overrides(cfg, ["+plain.new.deep=3", "+extra=[1]", "+plain.get=2", "+extra.1=4"])
    assert cfg.plain.new.deep == 3
    assert cfg.extra == [1, 4]
    assert cfg["plain"]["get"] == 2
    apply_overrides(cfg, ["+loader.train.transforms.2={_target_: config.targets.Resize, size: 9}"])
    assert instantiate(cfg.loader.train)["transforms"][2] == Resize(9)
    apply_overrides(cfg, ["+train.nope=1"])
    with pytest.raises(ConfigError, match=r"train\.nope: Settings has no argument 'nope'"):
        validate(cfg)


def test_delete(cfg):
    apply_overrides(cfg, ["~train.epochs", "~loader.train.transforms.0", "~odd.items"])
    assert instantiate(cfg.train).epochs == 1
    assert len(cfg.loader.train.transforms) == 1
    assert "did you mean 'train.output_dir'?" in failure(cfg, "~train.output_dri")
    assert "'~key' deletes and takes no value" in failure(cfg, "~train.name=3")
    apply_overrides(cfg, ["~model.num_classes"])
    with pytest.raises(ConfigError, match=r"model\.num_classes: required by Detector but not set"):
        validate(cfg)


def test_dict_sets_the_keys_it_names(cfg):
    apply_overrides(cfg, ["train={epochs: 9, name: x}"])
    assert instantiate(cfg.train).epochs == 9
    assert cfg.train.output_dir == "out"
    assert "Settings has no argument 'epoch'" in failure(cfg, "train={epoch: 9}")
    apply_overrides(cfg, ["model.backbone={_target_: config.targets.Backbone.tiny, depth: 6}"])
    assert instantiate(cfg.model).backbone.arguments["depth"] == 6


def test_class_reference_and_target(cfg):
    apply_overrides(cfg, ["model.backbone.norm_layer={_ref_: torch.nn.BatchNorm2d}"])
    assert instantiate(cfg.model).backbone.arguments["norm_layer"] is nn.BatchNorm2d
    assert "model.backbone.norm_layer: expected type[Module], got 'x'" in failure(cfg, "model.backbone.norm_layer=x")
    apply_overrides(cfg, ["odd._target_=builtins.dict"])
    assert instantiate(cfg.odd) == {"items": 1}


def test_interpolated_node_is_set_at_its_source(cfg):
    text = failure(cfg, "alias.num_classes=4")
    assert "'alias' stands for ${model}; set 'num_classes' there instead" in text
    apply_overrides(cfg, ["model.backbone.embed_dim=3"])
    assert cfg.width == 8
    apply_overrides(cfg, ["alias=5"])
    assert cfg.alias == 5


def test_dictconfig_method_names_as_keys(cfg):
    apply_overrides(cfg, ["odd.items=4", "odd.keys=k", "plain.get=3"])
    assert instantiate(cfg.odd).arguments[:2] == (4, "k")
    assert cfg["plain"]["get"] == 3


@pytest.mark.parametrize(
    "override", ["train.epochs", "=3", "train..epochs=1", ".x=1", "train.name=[1", "train.name=*x"]
)
def test_override_that_cannot_be_read(cfg, override):
    text = failure(cfg, override)
    assert f"override '{override}'" in text
    assert "expected key=value" in text or "not a dotted key" in text or "is not YAML" in text


def test_settings_before_options_that_take_a_list() -> None:
    given = ["--run", "a=b", "--layers", "1", "2", "x.y=3", "--only", "c", "--size=4", "z=5"]
    wanted = ["--run", "a=b", "x.y=3", "z=5", "--layers", "1", "2", "--only", "c", "--size=4"]
    assert settings_first(given, ("--layers", "--only")) == wanted
