"""Dotted paths to classes and functions: the only form in which a config holds code."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from pe_dense.config.errors import ConfigError, did_you_mean


def is_code(value: object) -> bool:
    """Whether the value is a class, a function or a method, which a config stores as a dotted path."""
    return inspect.isclass(value) or inspect.isroutine(value)


def display_name(target: Callable[..., Any]) -> str:
    """Short name for messages: ``MaskRCNN``, or ``PerceptionEncoder.from_name`` for a classmethod."""
    owner = getattr(target, "__self__", None)
    if inspect.isclass(owner):
        return f"{owner.__qualname__}.{target.__name__}"
    return str(getattr(target, "__qualname__", repr(target)))


def dotted_path(target: object) -> str:
    """The path under which another process can import ``target``, e.g. ``torch.nn.modules.linear.Linear``.

    Raises:
        ConfigError: for a lambda, a function or class defined inside a function or in a config file, a bound method
            of an object, a ``functools.partial`` or any other object without such a path.
    """
    if not is_code(target):
        raise ConfigError(f"{target!r} is not a class or a function and cannot be called from a config")
    owner = getattr(target, "__self__", None)
    if inspect.ismethod(target) and inspect.isclass(owner):
        module, qualname = owner.__module__, f"{owner.__qualname__}.{target.__name__}"
    else:
        module, qualname = getattr(target, "__module__", None) or "", getattr(target, "__qualname__", "")
    if inspect.ismethod(target) and not inspect.isclass(owner):
        raise ConfigError(f"'{target.__qualname__}' of an object cannot be used in a config; use a function instead")
    remedy = "define it at the top level of an importable module, because a saved config names it by its path"
    if "<lambda>" in qualname:
        raise ConfigError(f"a lambda ({module}) cannot be used in a config; {remedy}")
    if "<locals>" in qualname:
        raise ConfigError(f"'{qualname}' is local to a function and cannot be used in a config; {remedy}")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found != target:
        raise ConfigError(f"'{qualname}' cannot be imported from module '{module}'; {remedy}")
    return f"{module}.{qualname}"


def import_dotted(path: str) -> Any:
    """The class or function at a dotted path.

    Raises:
        ConfigError: if the module or the name in it does not exist, or the module fails to import.
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"'{path}' is not a dotted path such as 'package.module.Class'")
    module, rest = _import_longest(parts, path)
    found: Any = module
    for position, part in enumerate(rest):
        if not hasattr(found, part):
            owner = ".".join(parts[: len(parts) - len(rest) + position])
            raise ConfigError(f"cannot import '{path}': '{owner}' has no '{part}'{did_you_mean(part, dir(found))}")
        found = getattr(found, part)
    return found


def _import_longest(parts: list[str], path: str) -> tuple[Any, list[str]]:
    """Import the longest prefix that is a module; return it and the names that remain."""
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        try:
            return importlib.import_module(name), parts[length:]
        except ModuleNotFoundError as error:
            if error.name is None or not (name + ".").startswith(error.name + "."):
                raise ConfigError(f"cannot import '{path}': module '{name}' needs '{error.name}': {error}") from error
        except Exception as error:
            raise ConfigError(f"cannot import '{path}': {type(error).__name__} in '{name}': {error}") from error
    raise ConfigError(f"cannot import '{path}': there is no module '{parts[0]}'")
