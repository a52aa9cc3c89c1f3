"""``LazyCall``: a call written down in a config instead of made, in detectron2's manner.

A config tree holds only plain data, so that it can be printed, compared, overridden and saved:

- a *call node* is a dict with the dotted path of its target under ``_target_`` and the keyword arguments beside it;
- a class or function as a plain value (``norm_layer=nn.LayerNorm``) is a dict ``{"_ref_": "dotted.path"}``;
- tuples become lists (``instantiate`` makes tuples of them again where the target's annotation says so), and a
  ``pathlib.Path`` becomes a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.base import Container
from omegaconf.errors import InterpolationKeyError, InterpolationToMissingValueError, OmegaConfBaseException

from pe_dense.config.copies import note_copy
from pe_dense.config.errors import ConfigError, UnsetError
from pe_dense.config.references import display_name, dotted_path, import_dotted, is_code

TARGET = "_target_"
REFERENCE = "_ref_"
# Nodes accept classes by plain assignment (`model.norm_layer = nn.GELU`); they become paths when the config is loaded.
NODE_FLAGS = {"allow_objects": True}


class LazyCall:
    """Writes a call down: ``L(MaskRCNN)(num_classes=80)`` is a config node, and ``instantiate`` makes the call.

    Args:
        target: a class, function, classmethod or staticmethod that can be imported by its dotted path.

    Raises:
        ConfigError: if the target is a lambda, a local function or otherwise not importable.
    """

    def __init__(self, target: Callable[..., Any]) -> None:
        self._path = dotted_path(target)
        self._name = display_name(target)

    def __call__(self, *args: Any, **kwargs: Any) -> DictConfig:
        """The call node. Names are checked when the config is loaded, so a recipe may fill in arguments later.

        Raises:
            ConfigError: for a positional argument, or a value that a config cannot hold.
        """
        if args:
            raise ConfigError(f"L({self._name}) takes keyword arguments only, got {args[0]!r}; write argument=value")
        if TARGET in kwargs:
            raise ConfigError(f"L({self._name}): '{TARGET}' is the target itself and cannot be an argument")
        data = {}
        for key, value in kwargs.items():
            argument = f"argument '{key}' of L({self._name})"
            data[key] = to_plain(value, argument)
            note_copy(value, data[key], argument)
        return make_node({TARGET: self._path, **data})


def make_node(data: Any) -> Any:
    """A DictConfig of a dict of plain data."""
    return DictConfig(data, flags=NODE_FLAGS)


def to_plain(value: Any, key: str) -> Any:
    """The value as dicts, lists and scalars, with code as dotted paths and interpolations as their text.

    Args:
        value: a node, or any Python value found in a config.
        key: where the value stands, for the message.

    Raises:
        ConfigError: if a config cannot hold the value.
    """
    if value is None:
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind) and not isinstance(value, Enum):
            return kind(value)
    if isinstance(value, PurePath):
        return str(value)
    if is_code(value):
        return {REFERENCE: _path_of(value, key)}
    if isinstance(value, Container):
        return _container_to_plain(value, key)
    if isinstance(value, dict):
        return {name: _entry_to_plain(name, item, key) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item, f"{key}.{index}") for index, item in enumerate(value)]
    raise ConfigError(
        f"{key}: a config cannot hold a {type(value).__name__}; use numbers, strings, lists, dicts, "
        "classes, functions, or L(...) for a call"
    )


def _container_to_plain(node: Container, key: str) -> Any:
    if node._is_none():
        return None
    if node._is_interpolation() or node._is_missing():
        return node._value()
    if OmegaConf.get_type(node) not in (dict, list, tuple):
        name = getattr(OmegaConf.get_type(node), "__name__", "object")
        raise ConfigError(f"{key}: a config cannot hold a dataclass ({name}); write it as L({name})(...)")
    if isinstance(node, DictConfig):
        return {name: _entry_to_plain(name, stored(node, name), key) for name in node}
    return [to_plain(stored(node, index), f"{key}.{index}") for index in keys_of(node)]


def _entry_to_plain(name: Any, value: Any, key: str) -> Any:
    """One entry of a dict; ``_target_`` may have been assigned a class, which OmegaConf may have wrapped."""
    here = f"{key}.{name}" if key else str(name)
    if name != TARGET:
        return to_plain(value, here)
    if isinstance(value, DictConfig):
        value = OmegaConf.get_type(value)
    return _path_of(value, here) if is_code(value) else value


def _path_of(value: Any, key: str) -> str:
    try:
        return dotted_path(value)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def stored(node: Any, key: Any) -> Any:
    """The child as it is stored: a container node, or the value with interpolations as text."""
    child = node._get_node(key)
    return child if isinstance(child, Container) else child._value()


def interpolation_of(node: Any, key: Any) -> str | None:
    """The text of the interpolation that the value at ``key`` comes from, such as ``${data.image_size}``."""
    text = stored(node, key)
    return text if isinstance(text, str) and "${" in text else None


def full_key(node: Any, key: Any = None) -> str:
    """Dotted key of a node, or of its entry ``key``, from the root of its tree: ``dataloader.train.transforms.0``."""
    parts = [] if key is None else [str(key)]
    while node is not None:
        if node._key() is not None:
            parts.insert(0, str(node._key()))
        node = node._get_parent()
    return ".".join(parts) or "config"


def keys_of(node: Any) -> list[Any]:
    """The keys of a dict node (without the reserved ones) or the indices of a list node."""
    if isinstance(node, DictConfig):
        return [key for key in node if key not in (TARGET, REFERENCE)]
    return list(range(len(node)))


def has_key(node: DictConfig, key: str) -> bool:
    """Whether the key is there, with whatever value; ``key in node`` is False for a value that is still ``???``."""
    return any(known == key for known in node)


def read(node: Any, key: Any) -> Any:
    """The value at ``key`` with its interpolation resolved; a mandatory value that is not set reads as ``"???"``.

    Raises:
        UnsetError: if the interpolation leads to a value that is not set; it names that one.
        ConfigError: if the interpolation cannot be resolved.
    """
    if OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
        return "???"
    try:
        return node[key]
    except InterpolationToMissingValueError as error:
        missing = str(error).splitlines()[0].rpartition(": ")[2]  # "... Missing mandatory value: data.list[0]"
        raise UnsetError(re.sub(r"\[(\d+)\]", r".\1", missing)) from error
    except OmegaConfBaseException as error:
        text = f"{full_key(node, key)}: cannot resolve {stored(node, key)!r}: {str(error).splitlines()[0]}"
        if isinstance(error, InterpolationKeyError):
            text += "; a recipe must define, or import, every name it refers to"
        raise ConfigError(text) from error


def is_list(value: object) -> bool:
    """Whether the value is a list node (or a tuple node, after an assignment in Python)."""
    return isinstance(value, Container) and not isinstance(value, DictConfig)


def is_call(value: object) -> bool:
    """Whether the value is a call node."""
    return isinstance(value, DictConfig) and not value._is_none() and has_key(value, TARGET)


def is_reference(value: object) -> bool:
    """Whether the value is a class or function, as a node or as assigned in Python."""
    return is_code(value) or (isinstance(value, DictConfig) and not value._is_none() and has_key(value, REFERENCE))


def load_code(value: Any) -> Any:
    """The target of a call node, or the class or function that a reference means.

    Raises:
        ConfigError: if it cannot be imported; the message names the key.
    """
    if is_code(value):
        return value
    key = TARGET if is_call(value) else REFERENCE
    path = stored(value, key)
    if isinstance(path, DictConfig):
        path = OmegaConf.get_type(path)
    if is_code(path):
        return path
    if not isinstance(path, str):
        raise ConfigError(f"{full_key(value, key)}: expected a dotted path, got {path!r}")
    try:
        return import_dotted(path)
    except ConfigError as error:
        raise ConfigError(f"{full_key(value, key)}: {error}") from error
