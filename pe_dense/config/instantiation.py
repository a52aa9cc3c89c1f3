"""Makes the calls that a config describes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.base import Container

from pe_dense.config.annotations import choose, element_hint, python_sequence, value_hint, wants_path
from pe_dense.config.errors import ConfigError
from pe_dense.config.lazy import (
    full_key,
    has_key,
    interpolation_of,
    is_call,
    is_list,
    is_reference,
    keys_of,
    load_code,
    make_node,
    read,
    stored,
    to_plain,
)
from pe_dense.config.signatures import signature_of
from pe_dense.config.validation import validate

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
_RUN_CONSTANT = "_pe_dense_run_constant"
_RESOLVER_CALL = re.compile(r"\$\{[\w.]+:")
_OTHER_KEY = re.compile(r"\$\{(\w[\w.]*)\}")


def instantiate(cfg: Any, **extra: Any) -> Any:
    """Build what a config describes: calls every target, innermost first.

    The config is validated first, so a mistake in the last argument does not cost building the first. Lists arrive as
    tuples or sets, and strings as ``pathlib.Path``, where the target's annotation says so; dicts and lists are plain
    Python ones. A node that several interpolations refer to is built once for each of them.

    Args:
        cfg: a call node, or a list or dict that contains some; any other value is returned as it is.
        extra: arguments for ``cfg``'s own target, any Python objects; they replace those of the config.

    Raises:
        ConfigError: if the config does not match the signatures. What a target itself raises is passed on after the
            key of its node is logged; the message of a ValueError or OSError also tells the keys of its arguments.
    """
    if isinstance(cfg, (dict, list, tuple)):
        plain = to_plain(cfg, "")
        cfg = make_node({"config": plain})["config"]
    if extra and not is_call(cfg):
        names = ", ".join(extra)
        raise ConfigError(f"extra arguments ({names}) need a call node, got {type(cfg).__name__}")
    validate(cfg, provided=tuple(extra))
    return _build(cfg, Any, extra)


def run_constant(function: F) -> F:
    """Mark a function whose plain return value is fixed when a run starts, e.g. the class count of a json file.

    ``freeze_constants`` replaces calls of it by their value, so that a saved config does not need its inputs again.
    """
    setattr(function, _RUN_CONSTANT, True)
    return function


def freeze_constants(cfg: DictConfig) -> DictConfig:
    """Replace, in place, what depends on the moment a run starts: the config then re-creates the same run later.

    These are the calls of ``run_constant`` functions, and interpolations that call a resolver (``${oc.env:HOME}``).

    Returns:
        ``cfg`` itself.

    Raises:
        ConfigError: if such a function returns anything but numbers, strings, None, and lists or dicts of them.
    """
    _freeze(cfg)
    return cfg


def _freeze(node: Any) -> None:
    for key in keys_of(node):
        child = stored(node, key)
        if isinstance(child, str) and _RESOLVER_CALL.search(child):
            node[key] = to_plain(read(node, key), full_key(node, key))
        elif isinstance(child, Container) and not child._is_none():
            if is_call(child) and getattr(load_code(child), _RUN_CONSTANT, False):
                node[key] = to_plain(instantiate(child), full_key(node, key))
            else:
                _freeze(child)


def _build(value: Any, hint: Any, extra: dict[str, Any] | None = None) -> Any:
    """Build one value; ``hint`` is the annotation of the argument it is for."""
    if is_call(value):
        return _call(value, extra or {})
    if is_reference(value):
        return load_code(value)
    member = choose(value, hint)
    if is_list(value):
        items = [_build(read(value, index), element_hint(member, index)) for index in keys_of(value)]
        return python_sequence(member)(items)
    if isinstance(value, DictConfig):
        return {key: _build(read(value, key), value_hint(member)) for key in keys_of(value)}
    return Path(value) if isinstance(value, str) and wants_path(member) else value


def _call(node: DictConfig, extra: dict[str, Any]) -> Any:
    target = load_code(node)
    signature = signature_of(target)
    arguments = {
        str(key): _build(read(node, key), signature.hint(str(key))) for key in keys_of(node) if key not in extra
    }
    try:
        return target(**arguments, **extra)
    except Exception as error:
        logger.error("config: building %s (%s) failed", full_key(node), signature.name)
        _tell_sources(error, node)
        raise


def _tell_sources(error: Exception, node: DictConfig) -> None:
    """Add to a message where the arguments it is about come from: ``image_root is ${data.images}``.

    Who set ``data.images`` knows nothing of an argument ``image_root``.
    """
    if not (isinstance(error, (ValueError, OSError)) and len(error.args) == 1 and isinstance(error.args[0], str)):
        return
    text = error.args[0]
    sources = dict.fromkeys(f"{name} is {source}" for name, source, value in _interpolated(node)
                            if _is_about(text, name, value))  # fmt: skip
    if sources:
        error.args = (f"{text} (in the config {', '.join(sources)})",)


def _is_about(text: str, name: str, value: Any) -> bool:
    """Paths are known by themselves, as several arguments may be called ``json_file``; numbers by the name only."""
    if isinstance(value, str):
        return value != "" and str(Path(value).expanduser()) in text
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def _interpolated(node: Any) -> Iterator[tuple[str, str, Any]]:
    """Name, interpolation and plain value of every argument in a part of the config that refers to another key."""
    for key in keys_of(node):
        source = interpolation_of(node, key)
        value = read(node, key)
        if source is None and isinstance(value, Container) and not value._is_none():
            yield from _interpolated(value)
        elif source is not None and not isinstance(value, Container):
            yield str(key), _origin(node, source), value


def _origin(node: Container, source: str) -> str:
    """The last interpolation on the way to a value: a key that is nothing but another key is passed over, as the user
    sets the last one."""
    while match := _OTHER_KEY.fullmatch(source):
        parent, _, name = match[1].rpartition(".")
        root = node._get_root()
        owner = OmegaConf.select(root, parent) if parent else root
        further = interpolation_of(owner, name) if isinstance(owner, DictConfig) and has_key(owner, name) else None
        if further is None or "${." in further:  # what is relative to another key tells nothing here
            return source
        source = further
    return source
