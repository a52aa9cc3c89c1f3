"""What a target accepts: parameter names, which are required, and their resolved annotations."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from pe_dense.config.references import display_name


@dataclass(frozen=True)
class TargetSignature:
    """Keyword arguments of a target.

    Attributes:
        name: short name of the target for messages.
        accepted: names that can be given by keyword, in the order of the signature.
        required: those without a default.
        optional_none: those whose default is None, which accept None whatever their annotation says.
        open: True if any name is accepted (``**kwargs``, or a built-in that does not tell its signature).
        hints: annotation of each annotated parameter; one that cannot be resolved is absent.
        returns: what a call gives, or Any if that is not annotated.
    """

    name: str
    accepted: tuple[str, ...]
    required: tuple[str, ...]
    optional_none: frozenset[str]
    open: bool
    hints: dict[str, Any]
    returns: Any

    def hint(self, name: str) -> Any:
        """Annotation of a parameter, or Any."""
        return self.hints.get(name, Any)


def signature_of(target: Callable[..., Any]) -> TargetSignature:
    """The signature of a class, function or method; annotations written as strings are resolved."""
    hints = _hints(target)
    returns = target if inspect.isclass(target) else _returns(target, hints)
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (ValueError, TypeError):
        return TargetSignature(display_name(target), (), (), frozenset(), True, {}, returns)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    return TargetSignature(
        name=display_name(target),
        accepted=tuple(p.name for p in named),
        required=tuple(p.name for p in positional + named if p.default is p.empty),
        optional_none=frozenset(p.name for p in named if p.default is None),
        open=any(p.kind is p.VAR_KEYWORD for p in parameters),
        hints={p.name: hints[p.name] for p in named if p.name in hints},
        returns=returns,
    )


def _returns(target: Any, hints: dict[str, Any]) -> Any:
    """Return annotation; a classmethod that returns ``Self`` gives its class."""
    hint = hints.get("return", Any)
    owner = getattr(target, "__self__", None)
    if getattr(hint, "__name__", "") == "Self" and inspect.isclass(owner):
        return owner
    return hint


def _hints(target: Any) -> dict[str, Any]:
    """Resolved annotations of what is called: a dataclass's fields, a class's constructor, or the function."""
    source = target
    if inspect.isclass(target) and not dataclasses.is_dataclass(target):
        source = target.__init__ if target.__init__ is not object.__init__ else target.__new__
    source = inspect.unwrap(source) if not inspect.isclass(source) else source
    try:
        return typing.get_type_hints(source)
    except Exception:  # a name that exists only for the type checker: resolve what can be resolved, one by one
        return _hints_one_by_one(source)


def _hints_one_by_one(source: Any) -> dict[str, Any]:
    resolved: dict[str, Any] = {}
    scope = getattr(source, "__globals__", None) or vars(inspect.getmodule(source) or SimpleNamespace())
    for name, annotation in getattr(source, "__annotations__", {}).items():
        try:
            resolved.update(typing.get_type_hints(SimpleNamespace(__annotations__={name: annotation}), scope))
        except Exception:  # any failure means the same: the annotation is unknown
            continue
    return resolved
