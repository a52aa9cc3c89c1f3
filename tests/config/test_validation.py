"""Every mistake is found before anything is built, and named."""

import pytest
from torch import nn

from pe_dense.config import ConfigError, validate
from pe_dense.config import LazyCall as L
from pe_dense.config.lazy import make_node

from .targets import (
    Backbone,
    Detector,
    Resize,
    Settings,
    apply,
    build_loader,
    count,
    make_name,
    strict_loader,
    unannotated,
)


def message(**entries):
    """The error of a config with these entries."""
    with pytest.raises(ConfigError) as error:
        validate(make_node(entries))
    return str(error.value)


def test_unknown_argument_names_key_target_and_alternatives():
    text = message(model=L(Detector)(backbone=L(Backbone)(embed_dim=1, dept=3), num_classes=2))
    assert text == (
        "model.backbone.dept: Backbone has no argument 'dept'; did you mean 'depth'? "
        "(accepted: embed_dim, depth, drop_path, norm_layer, size, policy, weights)"
    )


def test_open_keyword_arguments_accept_anything():
    validate(make_node({"x": L(build_loader)(transforms=[], anything=3), "y": L(dict)(whatever=1)}))


def test_all_missing_arguments_are_listed():
    text = message(a=L(Detector)(), b=[L(Backbone)()])
    assert "a.backbone, a.num_classes: required by Detector but not set" in text
    assert "b.0.embed_dim: required by Backbone but not set" in text
    assert text.startswith("2 errors in the config:")


def test_values_still_to_be_set():
    text = message(a=L(Backbone)(embed_dim="???"), b={"c": "???"}, d=["???"])
    for key in ("a.embed_dim", "b.c", "d.0"):
        assert f"{key}: must be set; add {key}=VALUE to the command line" in text


def test_what_refers_to_an_unset_value_names_that_value():
    data = {"json": "???", "list": ["???"]}
    text = "data.json: must be set; add data.json=VALUE to the command line"
    cfg = make_node({"data": data, "a": L(Backbone)(embed_dim="${data.json}"), "b": ["${a}", "${data.json}/x"]})
    for part in (cfg.a, cfg.b):
        with pytest.raises(ConfigError) as error:
            validate(part)
        assert str(error.value) == text
    assert message(data=data, c="${data.list[0]}") == (
        f"2 errors in the config:\n  1. {text}\n  2. {text.replace('json', 'list.0')}"
    )
    validate(cfg.a, provided=("embed_dim",))


@pytest.mark.parametrize("value", ["resize", 3, [1], L(Settings)(output_dir="x")])
def test_what_does_not_follow_a_protocol(value):
    assert message(x=L(apply)(transform=value)).startswith("x.transform: expected Transform, got ")


def test_what_follows_a_protocol():
    validate(make_node({"x": L(apply)(transform=L(Resize)()), "y": L(apply)(transform=L(make_name)())}))


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("epochs", "three", "expected int, got 'three' (str)"),
        ("epochs", True, "expected int, got True (bool)"),
        ("epochs", 1.5, "expected int, got 1.5 (float)"),
        ("epochs", None, "expected int, got None"),
        ("epochs", [1], "expected int, got [1] (list)"),
        ("epochs", {"a": 1}, "expected int, got {'a': 1} (dict)"),
        ("amp", 1, "expected bool, got 1 (int)"),
        ("name", 5, "expected str, got 5 (int)"),
        ("names", "abc", "expected set[str], got 'abc' (str)"),
        ("rates", [1.0], "expected Mapping[str, float], got [1.0] (list)"),
        ("rates", {"a": "b"}, "expected Mapping[str, float], got {'a': 'b'} (dict)"),
        ("activation", "relu", "expected Callable[..., Any] | None, got 'relu' (str)"),
        ("pair", [1, 2, 3], "expected int | tuple[int, int], got [1, 2, 3] (list)"),
        ("output_dir", 3, "expected Path, got 3 (int)"),
        ("epochs", nn.Linear, "expected int, got the reference torch.nn.modules.linear.Linear"),
    ],
)
def test_wrong_type(argument, value, expected):
    arguments = {"output_dir": "o", argument: value}
    text = message(train=L(Settings)(**arguments))
    assert text.startswith(f"train.{argument}: {expected}, for argument '{argument}' of Settings")


def test_wrong_type_of_a_string_says_how_to_quote():
    assert """quote it to make it a string: '"5"'""" in message(train=L(Settings)(output_dir="o", name=5))


def test_literal_and_float_and_optional():
    assert "expected Literal['tile', 'bilinear'], got 'tiel' (str)" in message(
        b=L(Backbone)(embed_dim=1, policy="tiel")
    )
    validate(make_node({"b": L(Backbone)(embed_dim=1, drop_path=1, weights=None, policy="bilinear")}))
    validate(make_node({"s": L(Settings)(output_dir="o", precise="anything: the annotation is unknown", later=None)}))
    assert "s.later: expected int, got 'x'" in message(s=L(Settings)(output_dir="o", later="x"))


def test_list_elements_are_checked_one_by_one():
    text = message(x=L(strict_loader)(resize=[L(Resize)(), L(Backbone)(embed_dim=1), 7], path="p"))
    assert "x.resize.1: expected Resize, got a call of Backbone, for argument 'resize' of strict_loader" in text
    assert "x.resize.2: expected Resize, got 7 (int)" in text
    assert "x.resize.0" not in text


def test_calls_are_judged_by_what_they_return():
    validate(make_node({"a": L(Detector)(backbone=L(Backbone.tiny)(), num_classes=L(count)(path="x"))}))
    validate(make_node({"a": L(Detector)(backbone=L(unannotated)(value=1), num_classes=L(unannotated)(value=1))}))
    validate(make_node({"a": L(build_loader)(transforms=[L(Resize)()])}))
    assert "b.size.obj: len has no argument 'obj'" in message(b=L(Resize)(size=L(len)(obj=1))), "positional only"
    text = message(a=L(Detector)(backbone=L(Resize)(), num_classes=L(make_name)()))
    assert "a.backbone: expected Module, got a call of Resize" in text
    assert "a.num_classes: expected int, got a call of make_name" in text


def test_class_references_are_checked():
    validate(make_node({"b": L(Backbone)(embed_dim=1, norm_layer=nn.GroupNorm)}))
    validate(make_node({"s": L(Settings)(output_dir="o", activation=nn.functional.gelu)}))
    assert "b.norm_layer: expected type[Module], got the reference config.targets.Resize" in message(
        b=L(Backbone)(embed_dim=1, norm_layer=Resize)
    )


def test_interpolations_are_resolved_before_the_check():
    text = message(width="wide", b=L(Backbone)(embed_dim="${width}"))
    assert "b.embed_dim: expected int, got 'wide' (str) from ${width}, for argument 'embed_dim' of Backbone" in text
    validate(make_node({"width": 3, "b": L(Backbone)(embed_dim="${width}"), "d": "${b}"}))
    validate(make_node({"b": L(Backbone)(embed_dim=4), "m": L(Detector)(backbone="${b}", num_classes=1)}))


def test_interpolations_that_lead_nowhere_or_in_a_circle():
    text = message(b=L(Backbone)(embed_dim="${widht}"), c="${d}", d="${c}")
    assert "b.embed_dim: cannot resolve '${widht}': Interpolation key 'widht' not found" in text
    assert "c: cannot resolve '${d}'" in text
    assert "b.inner: cannot resolve '${b}': Interpolation to parent node detected" in message(b={"inner": "${b}"})
    assert "which contains it" in message(a={"x": "${b}"}, b={"y": "${a}"})


def test_targets_that_cannot_be_imported_name_the_key():
    assert "m._target_: cannot import 'torch.nn.Liner': 'torch.nn' has no 'Liner'; did you mean 'Linear'?" in message(
        m={"_target_": "torch.nn.Liner"}
    )
    assert "m._target_: cannot import 'nowhere.x.Y': there is no module 'nowhere'" in message(
        m={"_target_": "nowhere.x.Y"}
    )
    assert "m.n._ref_: cannot import" in message(m={"n": {"_ref_": "torch.nn.NoSuchThing"}})
    assert "m._target_: '3' is not a dotted path" in message(m={"_target_": "3"})
    assert "m._target_: expected a dotted path, got 3" in message(m={"_target_": 3})
    assert "is not a class or a function" in message(m={"_target_": "math.pi"})


def test_reserved_keys_do_not_mix():
    assert "m._ref_: a node has either '_target_' or '_ref_', not both" in message(
        m={"_target_": "builtins.dict", "_ref_": "builtins.dict"}
    )
    assert "m: a '_ref_' node has no other keys, got a" in message(m={"_ref_": "builtins.dict", "a": 1})


def test_several_errors_are_reported_together_and_once():
    text = message(a=L(Backbone)(embed_dim="x", nope=1), b="${a}", c=L(Settings)(epochs=None), d=L(Resize)(sise=1))
    assert text.startswith("5 errors in the config:\n  1. ")
    assert text.count("a.embed_dim") == 1
