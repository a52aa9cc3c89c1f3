"""Configs as YAML text and as a tree for the terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from pe_dense.config.errors import ConfigError, UnsetError
from pe_dense.config.lazy import is_call, is_list, is_reference, keys_of, load_code, make_node, read, to_plain
from pe_dense.config.references import display_name

_INT = r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+"
_FLOAT = (
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
# YAML 1.2 scalars as in JSON: 1e-4 is a number; yes, on, 12:30 and 2024-01-01 are strings.
_SCALARS = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", _INT, "-+0123456789"),
    ("tag:yaml.org,2002:float", _FLOAT, "-+.0123456789"),
    ("tag:yaml.org,2002:null", r"null|Null|NULL|~|", "nN~\0"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute, replaced


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute, replaced

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal nodes out in full."""
        return True


for _tag, _pattern, _first in _SCALARS:
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), [c if c != "\0" else "" for c in _first])


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """A mapping in which a repeated key is an error rather than silently the last value."""
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' appears twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def parse_yaml(text: str) -> Any:
    """Plain data of YAML text (numbers, booleans and null as in YAML 1.2).

    Raises:
        yaml.YAMLError: if the text is not YAML.
    """
    return yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader


def to_yaml(cfg: Any) -> str:
    """The config as plain YAML; interpolations are kept as ``${...}``, targets and references are dotted paths.

    Raises:
        ConfigError: if it holds a value that a config cannot hold.
    """
    return _dump(to_plain(cfg, ""))


def save_config(cfg: DictConfig, path: str | Path) -> None:
    """Write ``to_yaml(cfg)`` to a file; ``load_config`` of it gives an equal config."""
    Path(path).write_text(to_yaml(cfg), encoding="utf-8")


def from_yaml(text: str, origin: str = "YAML text") -> DictConfig:
    """The config that ``to_yaml`` wrote; not validated.

    Args:
        text: YAML with a mapping at the top.
        origin: where it comes from, for messages.

    Raises:
        ConfigError: if the text is not YAML (with the line) or not a mapping.
    """
    try:
        data = parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{origin}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{origin}: a config must be a mapping of names, got {type(data).__name__}")
    return make_node(to_plain(data, ""))


def format_config(cfg: Any) -> str:
    """The config as an indented tree for the terminal.

    Interpolations are resolved, and calls, classes and functions are shown by name. What must still be set, and what
    refers to it, is ``???``.

    Raises:
        ConfigError: if an interpolation cannot be resolved or a target cannot be imported.
    """
    return "\n".join(_tree(cfg))


def _dump(plain: Any) -> str:
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _scalar(value: Any) -> str:
    text = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, default_flow_style=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def _tree(node: Any) -> list[str]:
    """Lines of the entries of a node, without indentation."""
    lines: list[str] = []
    for key in keys_of(node):
        head, body = _entry(_shown(node, key))
        label = "-" if is_list(node) else f"{key}:"
        lines.append(f"{label} {head}" if head else label)
        lines += ["  " + line for line in body]
    return lines


def _shown(node: Any, key: Any) -> Any:
    """The value to show; what refers to a value that is not set is not set either."""
    try:
        return read(node, key)
    except UnsetError:
        return "???"


def _entry(value: Any) -> tuple[str, list[str]]:
    """What stands on the line of the key, and the lines below it."""
    if is_reference(value):
        return f"<{display_name(load_code(value))}>", []
    if is_call(value):
        name = display_name(load_code(value))
        return name if keys_of(value) else f"{name}()", _tree(value)
    if isinstance(value, DictConfig) or is_list(value):
        plain = [_shown(value, key) for key in keys_of(value)]
        if not plain:
            return "{}" if isinstance(value, DictConfig) else "[]", []
        if is_list(value) and not any(isinstance(item, DictConfig) or is_list(item) for item in plain):
            return f"[{', '.join(_scalar(item) for item in plain)}]", []
        return "", _tree(value)
    return _scalar(value), []
