"""Changes to a loaded config from the command line: ``key=value``, ``+key=value``, ``~key``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.base import Container

from pe_dense.config.errors import ConfigError, did_you_mean, listing, raise_all
from pe_dense.config.lazy import (
    REFERENCE,
    TARGET,
    full_key,
    is_call,
    is_list,
    is_reference,
    keys_of,
    load_code,
    read,
    stored,
)
from pe_dense.config.serialization import parse_yaml
from pe_dense.config.signatures import signature_of
from pe_dense.config.validation import argument_errors, unknown_argument


def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Apply overrides to ``cfg``, in place and in order.

    - ``key.sub=value`` sets something that exists: a key of the config, or an argument of the node's target. Values
      are YAML (``1e-4``, ``null``, ``[1, 2]``, ``{a: 1}``); list entries are addressed by index
      (``transforms.0.size=512``). A dict given for a node that exists sets the keys it names and leaves the others.
    - ``+key.sub=value`` adds something new, on purpose; ``+list.N=value`` with N = its length appends.
    - ``~key.sub`` deletes.

    Returns:
        ``cfg`` itself.

    Raises:
        ConfigError: for a key that does not exist, a value of the wrong type, or an override that cannot be read; all
            of them together.
    """
    errors: list[str] = []
    touched: list[tuple[str, str]] = []
    for override in overrides:
        try:
            touched += [(override, path) for path in _apply(cfg, override)]
        except ConfigError as error:
            errors.append(f"override '{override}': {error}")
    for override, path in touched if not errors else []:
        errors += [f"override '{override}': {error}" for error in _type_errors(cfg, path)]
    raise_all(list(dict.fromkeys(errors)))
    return cfg


def _apply(cfg: DictConfig, override: str) -> list[str]:
    """Apply one override; return the dotted keys that were set."""
    if override.startswith("~"):
        if "=" in override:
            raise ConfigError("'~key' deletes and takes no value; write '~key' alone, or 'key=value' to set it")
        node, key = _find(cfg, _split(override[1:]))
        del node[_existing(node, key)]
        return []
    name, equals, text = override.removeprefix("+").partition("=")
    if not equals or not name:
        raise ConfigError("expected key=value, +key=value or ~key")
    try:
        value = parse_yaml(text) if text else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"the value {text!r} is not YAML; put a string with special characters in quotes") from error
    return _assign(cfg, _split(name), value, add=override.startswith("+"))


def _assign(cfg: DictConfig, path: list[str], value: Any, add: bool) -> list[str]:
    node, key = _find(cfg, path, create=add)
    found = _lookup(node, key)
    current = stored(node, found) if found is not None else None
    if _merges(value) and isinstance(current, DictConfig) and not is_reference(current):
        return [name for sub, item in value.items() for name in _assign(cfg, [*path, str(sub)], item, add)]
    if found is not None or (is_list(node) and add and key == str(len(node))):
        if found is None:
            node.append(value)
        else:
            node[found] = value
    elif is_list(node) or not (add or _has_argument(node, key)):
        raise ConfigError(_unknown(node, key))
    else:
        node[key] = value
    return [".".join(path)]


def _merges(value: Any) -> bool:
    return isinstance(value, dict) and TARGET not in value and REFERENCE not in value


def _split(name: str) -> list[str]:
    """``a.b[0].c`` and ``a.b.0.c`` are the same key."""
    path = re.sub(r"\[(-?\d+)\]", r".\1", name).split(".")
    if not all(path):
        raise ConfigError(f"'{name}' is not a dotted key such as train.epochs")
    return path


def _find(cfg: Any, path: list[str], create: bool = False) -> tuple[Any, str]:
    """The node that holds the last part of a path, and that part."""
    node = cfg
    for position, part in enumerate(path[:-1]):
        key = _lookup(node, part)
        if key is None and create and isinstance(node, DictConfig):
            node[part] = {}
            key = part
        if key is None:
            if _has_argument(node, part):
                raise ConfigError(f"'{full_key(node, part)}' is not set in the config, so nothing below it can be set")
            raise ConfigError(_unknown(node, part))
        if OmegaConf.is_interpolation(node, key):
            rest = ".".join(path[position + 1 :])
            raise ConfigError(f"'{full_key(node, key)}' stands for {stored(node, key)}; set '{rest}' there instead")
        child = read(node, key)
        if not isinstance(child, Container):
            raise ConfigError(f"'{full_key(node, key)}' is {child!r}, which has no key '{path[position + 1]}'")
        node = child
    return node, path[-1]


def _lookup(node: Any, part: str) -> Any:
    """The key or index that a part of a dotted key means in this node, or None."""
    if is_list(node):
        index = int(part) if re.fullmatch(r"-?\d+", part) else len(node)
        return index if -len(node) <= index < len(node) else None
    return next((key for key in node if str(key) == part), None)


def _existing(node: Any, part: str) -> Any:
    key = _lookup(node, part)
    if key is None:
        raise ConfigError(_unknown(node, part))
    return key


def _has_argument(node: Any, name: str) -> bool:
    """Whether the target of the node takes an argument of this name."""
    if not is_call(node):
        return False
    signature = signature_of(load_code(node))
    return signature.open or name in signature.accepted


def _unknown(node: Any, part: str) -> str:
    prefix = "" if node._get_parent() is None else f"{full_key(node)}."
    if is_list(node):
        entries = "1 entry" if len(node) == 1 else f"{len(node)} entries"
        return f"'{full_key(node)}' has {entries}, so there is no '{prefix}{part}' (counted from 0)"
    if is_call(node):
        return unknown_argument(signature_of(load_code(node)), part, prefix)
    keys = keys_of(node)
    where = f"'{full_key(node)}'" if prefix else "the config"
    return (
        f"{where} has no key '{part}'{did_you_mean(part, keys, prefix)} (keys: {listing(keys)}); "
        f"write '+{prefix}{part}=...' to add it"
    )


def _type_errors(cfg: DictConfig, path: str) -> list[str]:
    try:
        node, part = _find(cfg, _split(path))
        return argument_errors(node, _existing(node, part))
    except ConfigError:
        return []  # deleted or replaced by a later override


def settings_first(arguments: Sequence[str], lists: Sequence[str]) -> list[str]:
    """A command line with config values before the options that take a list, which would take those behind them too.

    Args:
        arguments: of the command line, without the program.
        lists: those options.
    """
    start = next((i for i, argument in enumerate(arguments) if argument in lists), len(arguments))
    settings = [argument for argument in arguments[start:] if "=" in argument and not argument.startswith("--")]
    return [*arguments[:start], *settings, *(argument for argument in arguments[start:] if argument not in settings)]
