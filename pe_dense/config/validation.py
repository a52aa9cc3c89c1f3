"""Checks a config against the signatures of its targets, before anything is built."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from omegaconf import DictConfig
from omegaconf.base import Container

from pe_dense.config.annotations import describe, element_hint, fits, list_member
from pe_dense.config.errors import ConfigError, UnsetError, did_you_mean, listing, raise_all
from pe_dense.config.lazy import (
    REFERENCE,
    TARGET,
    full_key,
    has_key,
    interpolation_of,
    is_call,
    is_list,
    is_reference,
    keys_of,
    load_code,
    read,
    stored,
)
from pe_dense.config.references import display_name, is_code
from pe_dense.config.signatures import TargetSignature, signature_of


def validate(cfg: Any, provided: Collection[str] = ()) -> None:
    """Check every call node below ``cfg`` (and ``cfg`` itself) against the signature of its target.

    Found and reported together: targets that cannot be imported, unknown arguments, missing required arguments,
    values of the wrong type, values that are still ``???``, and interpolations that cannot be resolved.

    Args:
        cfg: a config or a part of one; interpolations may refer to the tree it belongs to.
        provided: arguments of ``cfg``'s own target that the caller will give to ``instantiate``.

    Raises:
        ConfigError: naming every key at fault.
    """
    raise_all(find_errors(cfg, provided))


def find_errors(cfg: Any, provided: Collection[str] = (), allow_unset: bool = False) -> list[str]:
    """What ``validate`` reports, one sentence an error; ``allow_unset`` leaves out values that are still ``???``."""
    checker = _Checker(allow_unset)
    checker.visit(cfg, provided)
    return list(checker.errors)


def argument_errors(node: Any, key: Any) -> list[str]:
    """Errors of one entry of a node: its value against the annotation of the argument it is."""
    if not is_call(node):
        return []
    checker = _Checker()
    target = checker.target(node)
    if target is not None:
        checker.check_type(node, key, signature_of(target))
    return list(checker.errors)


class _Checker:
    """Walks a tree, through interpolations too, and collects errors."""

    def __init__(self, allow_unset: bool = False) -> None:
        # a dict, because a node reached twice, or a value that is not set and that many refer to, is reported once
        self.errors: dict[str, None] = {}
        self.allow_unset = allow_unset
        self._active: list[int] = []
        self._done: dict[int, Any] = {}  # keeps the nodes alive, so that no id is used twice

    def visit(self, node: Any, provided: Collection[str] = ()) -> None:
        if not isinstance(node, Container) or id(node) in self._done or node._is_none():
            return
        self._done[id(node)] = node
        self._active.append(id(node))
        signature = self._check_call(node, provided) if is_call(node) else None
        if signature is None and is_reference(node):
            self._check_reference(node)
        for key in keys_of(node):
            self._visit_entry(node, key, signature, key in provided)
        self._active.pop()

    def _visit_entry(self, node: Any, key: Any, signature: TargetSignature | None, replaced: bool) -> None:
        try:
            value = read(node, key)
            if isinstance(value, str) and value == "???":
                raise UnsetError(full_key(node, key))
        except UnsetError as error:
            if not (replaced or self.allow_unset):
                self._add(str(error))
            return
        except ConfigError as error:
            self._add(str(error))
            return
        if id(value) in self._active:
            self._add(f"{full_key(node, key)}: refers to '{full_key(value)}', which contains it")
        else:
            self.visit(value)
            if signature is not None and not replaced:
                self.check_type(node, key, signature)

    def _add(self, error: str) -> None:
        self.errors[error] = None

    def target(self, node: Any) -> Any:
        """The target of a call node, or None after adding the error."""
        try:
            target = load_code(node)
        except ConfigError as error:
            self._add(str(error))
            return None
        if not callable(target):
            self._add(f"{full_key(node, TARGET)}: {target!r} is not a class or a function")
            return None
        return target

    def _check_call(self, node: Any, provided: Collection[str]) -> TargetSignature | None:
        target = self.target(node)
        if target is None:
            return None
        signature = signature_of(target)
        for key in [*keys_of(node), *(name for name in provided if name not in keys_of(node))]:
            if key not in signature.accepted and not signature.open:
                self._add(f"{full_key(node, key)}: {unknown_argument(signature, key)}")
        if has_key(node, REFERENCE):
            self._add(f"{full_key(node, REFERENCE)}: a node has either '{TARGET}' or '{REFERENCE}', not both")
        missing = [name for name in signature.required if not has_key(node, name) and name not in provided]
        if missing:
            names = listing(full_key(node, name) for name in missing)
            self._add(f"{names}: required by {signature.name} but not set")
        return signature

    def _check_reference(self, node: Any) -> None:
        try:
            load_code(node)
        except ConfigError as error:
            self._add(str(error))
        if keys_of(node):
            self._add(f"{full_key(node)}: a '{REFERENCE}' node has no other keys, got {listing(keys_of(node))}")

    def check_type(self, node: Any, key: Any, signature: TargetSignature) -> None:
        """Compare one argument with its annotation; None fits where it is the default, whatever the annotation says."""
        if key in signature.optional_none and stored(node, key) is None:
            return
        self._compare(node, key, signature.hint(str(key)), f"for argument '{key}' of {signature.name}")

    def _compare(self, node: Any, key: Any, hint: Any, purpose: str) -> None:
        """Report the innermost list element at fault, so that the key says which of many transforms is wrong."""
        try:
            value = read(node, key)
            if (isinstance(value, str) and value == "???") or fits(value, hint):
                return
        except ConfigError:
            return  # an unresolvable interpolation is reported where it stands
        meant = list_member(value, hint) if is_list(value) else None
        if meant is not None:
            for index in range(len(value)):
                self._compare(value, index, element_hint(meant, index), purpose)
            return
        source = interpolation_of(node, key)
        origin = f" from {source}" if source is not None else ""
        text = f"{full_key(node, key)}: expected {describe(hint)}, got {show(value)}{origin}, {purpose}"
        if isinstance(value, (bool, int, float)) and fits("", hint):
            text += f"; quote it to make it a string: '\"{value}\"'"
        self._add(text)


def unknown_argument(signature: TargetSignature, key: Any, prefix: str = "") -> str:
    """The sentence for an argument that a target does not have."""
    return (
        f"{signature.name} has no argument '{key}'{did_you_mean(str(key), signature.accepted, prefix)} "
        f"(accepted: {listing(signature.accepted)})"
    )


def show(value: Any) -> str:
    """A value and its type for a message, shortened."""
    if is_code(value):
        return f"the reference {display_name(value)}"
    if is_reference(value):
        return f"the reference {value.get(REFERENCE)}"
    if is_call(value):
        return f"a call of {str(value.get(TARGET)).rsplit('.', 1)[-1]}"
    if value is None:
        return "None"
    kind = "dict" if isinstance(value, DictConfig) else "list" if is_list(value) else type(value).__name__
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({kind})"
