"""Does a config value fit a type annotation? And which Python type should a list or a path become?"""

from __future__ import annotations

import inspect
import os
import re
import types
import typing
from pathlib import PurePath
from typing import Any, Literal, TypeVar, Union

from omegaconf import DictConfig

from pe_dense.config.errors import ConfigError
from pe_dense.config.lazy import is_call, is_list, is_reference, load_code, read
from pe_dense.config.signatures import signature_of


def unwrap(hint: Any) -> Any:
    """The annotation without ``Annotated``, ``Final``, ``NewType`` and type variables."""
    while True:
        if hasattr(hint, "__metadata__") or typing.get_origin(hint) in (typing.Final, typing.ClassVar):
            hint = hint.__origin__ if hasattr(hint, "__metadata__") else typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif isinstance(hint, TypeVar):
            hint = hint.__bound__ or Any
        else:
            return type(None) if hint is None else hint


def members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    hint = unwrap(hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(m for argument in typing.get_args(hint) for m in members(argument))
    return (hint,)


def choose(value: Any, hint: Any) -> Any:
    """The union member that the value fits, or None."""
    return next((member for member in members(hint) if _fits_one(value, member)), None)


def fits(value: Any, hint: Any) -> bool:
    """Whether a config value (interpolations resolved) may be passed where ``hint`` is the annotation."""
    return choose(value, hint) is not None


def list_member(value: Any, hint: Any) -> Any:
    """The one union member a non-empty list was meant for, whatever its elements are; None if there is no such one."""
    options = [member for member in members(hint) if _length_fits(value, member)] if len(value) else []
    return options[0] if len(options) == 1 else None


def element_hint(hint: Any, index: int) -> Any:
    """Annotation of element ``index`` of a list, tuple, set or sequence annotation."""
    arguments = typing.get_args(hint)
    if not arguments:
        return Any
    if typing.get_origin(hint) is tuple and arguments[-1] is not Ellipsis:
        return arguments[index] if index < len(arguments) else Any
    return arguments[0]


def value_hint(hint: Any) -> Any:
    """Annotation of the values of a dict annotation."""
    arguments = typing.get_args(hint)
    return arguments[1] if len(arguments) == 2 else Any


def python_sequence(hint: Any) -> type:
    """``tuple``, ``set``, ``frozenset`` or ``list``: what a list in the config becomes for this annotation."""
    origin = typing.get_origin(hint) or hint
    return origin if origin in (tuple, set, frozenset) else list


def wants_path(hint: Any) -> bool:
    """Whether a string in the config becomes a ``pathlib.Path``."""
    origin = typing.get_origin(hint) or hint
    return origin is os.PathLike or (inspect.isclass(origin) and issubclass(origin, PurePath))


def describe(hint: Any) -> str:
    """The annotation as one would write it: ``int``, ``float | None``, ``Literal['a', 'b']``, ``tuple[int, int]``."""
    parts = members(hint)
    if len(parts) > 1:
        return " | ".join(describe(part) for part in parts)
    if parts[0] is type(None):
        return "None"
    if typing.get_origin(parts[0]) is Literal:
        return f"Literal[{', '.join(repr(option) for option in typing.get_args(parts[0]))}]"
    if inspect.isclass(parts[0]) and not typing.get_args(parts[0]):
        return parts[0].__name__
    text = re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", str(parts[0]))
    return text.replace("NoneType", "None")


def _fits_one(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    if hint is Any or hint is object:
        return True
    if value is None:
        return origin is type(None)
    if getattr(origin, "_is_protocol", False):
        return _protocol_fits(value, origin)
    if is_call(value):
        return _call_fits(value, hint)
    if is_reference(value):
        return _reference_fits(value, hint, origin)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in typing.get_args(hint))
    if not inspect.isclass(origin):
        return True  # ParamSpec, TypeVarTuple ...: nothing a value could contradict
    if is_list(value):
        return _list_fits(value, hint)
    if isinstance(value, DictConfig):
        return _dict_fits(value, hint, origin)
    return _scalar_fits(value, origin)


def _protocol_fits(value: Any, protocol: type) -> bool:
    """Whether a value, or the class whose call it is, has the protocol's methods; what cannot be told is accepted."""
    if is_call(value):
        try:
            kind = load_code(value)
        except ConfigError:
            return True  # reported once, at the call itself
        if not inspect.isclass(kind):
            return True
    elif is_reference(value) or isinstance(value, DictConfig):
        return True
    else:
        kind = list if is_list(value) else type(value)
    methods = {name for base in protocol.__mro__ if getattr(base, "_is_protocol", False)
               for name, member in vars(base).items() if inspect.isfunction(member)}  # fmt: skip
    methods -= {"__init__", "__subclasshook__"}  # typing's
    return all(any(name in vars(base) for base in kind.__mro__) for name in methods)


def _scalar_fits(value: Any, origin: type) -> bool:
    if isinstance(value, bool):
        return origin is bool
    if isinstance(value, int):
        return origin in (int, float, complex)
    if isinstance(value, str):
        return origin is str or wants_path(origin)
    return isinstance(value, origin)


def _list_fits(value: Any, hint: Any) -> bool:
    if not _length_fits(value, hint):
        return False
    return all(fits(read(value, index), element_hint(hint, index)) for index in range(len(value)))


def _length_fits(value: Any, hint: Any) -> bool:
    """Whether the annotation takes a list at all, and one of this length."""
    origin = typing.get_origin(hint) or hint
    if getattr(origin, "_is_protocol", False):
        return _protocol_fits(value, origin)
    if not inspect.isclass(origin) or (origin not in (tuple, set, frozenset) and not _subclass(list, origin)):
        return False
    arguments = typing.get_args(hint)
    return not (origin is tuple and arguments and arguments[-1] is not Ellipsis and len(arguments) != len(value))


def _dict_fits(value: DictConfig, hint: Any, origin: type) -> bool:
    if typing.is_typeddict(origin):
        return True
    if not _subclass(dict, origin):
        return False
    arguments = typing.get_args(hint)
    if len(arguments) != 2:
        return True
    return all(fits(key, arguments[0]) and fits(read(value, key), arguments[1]) for key in value)


def _reference_fits(value: Any, hint: Any, origin: Any) -> bool:
    try:
        code = load_code(value)
    except ConfigError:
        return True  # reported once, where the reference stands
    if origin is type:
        bases = [base for argument in typing.get_args(hint) for base in members(argument) if inspect.isclass(base)]
        return inspect.isclass(code) and (not bases or any(_subclass(code, base) for base in bases))
    return not inspect.isclass(origin) or isinstance(code, origin)


def _call_fits(value: Any, hint: Any) -> bool:
    """Judge a call by what it returns; an unknown return type is accepted."""
    try:
        target = load_code(value)
    except ConfigError:
        return True  # reported once, at the call itself
    if not callable(target):
        return True
    returned = members(signature_of(target).returns)
    return any(_type_fits(given, hint) for given in returned)


def _type_fits(given: Any, hint: Any) -> bool:
    given_class = typing.get_origin(given) or given
    wanted = typing.get_origin(hint) or hint
    if given_class is Literal or wanted is Literal:
        given_class = type(typing.get_args(given)[0]) if given_class is Literal else given_class
        wanted = type(typing.get_args(hint)[0]) if wanted is Literal else wanted
    if given_class in (Any, object) or not inspect.isclass(given_class) or not inspect.isclass(wanted):
        return True
    if given_class is int and wanted is float:
        return True
    return _subclass(given_class, wanted) or (given_class is str and wants_path(wanted))


def _subclass(given: type, wanted: type) -> bool:
    try:
        return issubclass(given, wanted)
    except TypeError:  # e.g. a protocol with data members, which cannot be checked
        return True
