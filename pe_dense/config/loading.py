"""Loads Python configs and saved YAML configs.

A Python config is executed with an ``__import__`` of its own in its builtins: relative imports lead to other config
files, everything else to Python's import. Neither ``sys.modules`` nor the interpreter's builtins know of config files,
so folders need no ``__init__.py``, and each import executes the file afresh: no recipe sees another's edits.
"""

from __future__ import annotations

import builtins
import inspect
import logging
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig

from pe_dense.config.copies import edited_afterwards, watch_copies
from pe_dense.config.errors import ConfigError, ConfigFileNotFoundError, did_you_mean, raise_all
from pe_dense.config.interpreter import unchanged_on_error
from pe_dense.config.lazy import make_node, to_plain
from pe_dense.config.overrides import apply_overrides
from pe_dense.config.serialization import from_yaml
from pe_dense.config.validation import find_errors

logger = logging.getLogger(__name__)

_SUFFIXES = (".py", ".yaml", ".yml")


class _LocatedError(ConfigError):
    """An error whose message already names the file and line."""


def load_config(path: str | Path, overrides: Sequence[str] = (), allow_unset: bool = False) -> DictConfig:
    """Load a config, apply overrides, and validate it against the signatures of its targets.

    Args:
        path: a Python config, or a YAML file written by ``save_config``.
        overrides: see ``apply_overrides``.
        allow_unset: accept values that are still ``???``, to look at the config or to build a part that needs none.

    Returns:
        The config tree. Public names of a Python config that hold dicts, lists or plain values are its keys.

    Raises:
        ConfigError: if the file is missing (also a FileNotFoundError) or raises, or the config or an override is wrong.
    """
    path = Path(path)
    _require_file(path)
    if path.suffix == ".py":
        with unchanged_on_error(), watch_copies() as copies:
            namespace = _Executor().execute(path)
            cfg = _to_config(namespace, path)
    else:
        namespace, copies = {}, {}
        cfg = from_yaml(_read_text(path), origin=str(path))
    apply_overrides(cfg, overrides)
    for message in edited_afterwards(copies, namespace, to_plain(cfg, "")):
        logger.warning("%s: %s", path, message)
    raise_all(find_errors(cfg, allow_unset=allow_unset), origin=str(path))
    return cfg


def _require_file(path: Path) -> None:
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise ConfigError(f"{path}: a config file ends in .py, .yaml or .yml")
        return
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give one of the config files in it")
    if not path.parent.is_dir():
        raise ConfigFileNotFoundError(f"config file {path} does not exist: there is no folder '{path.parent}'")
    names = sorted(p.name for p in path.parent.iterdir() if p.suffix in _SUFFIXES)
    hint = did_you_mean(path.name, names) or (f"; files there: {', '.join(names[:10])}" if names else "")
    raise ConfigFileNotFoundError(f"config file {path} does not exist{hint}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a UTF-8 text file: {error}") from error


def _to_config(namespace: Mapping[str, Any], path: Path) -> DictConfig:
    """The public data of an executed config file as one tree."""
    data: dict[str, Any] = {}
    for name, value in namespace.items():
        if name.startswith("_") or _is_left_out(value):
            continue
        try:
            data[name] = to_plain(value, name)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}; a name that starts with '_' is left out of the config") from error
    return make_node(data)


def _is_left_out(value: object) -> bool:
    """Modules, classes, functions, and what ``typing`` and ``__future__`` give."""
    if inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value):
        return True
    return type(value).__module__ in ("typing", "__future__", "types")


class _Executor:
    """Executes a config file and, through their relative imports, the files it builds on."""

    def __init__(self) -> None:
        self._stack: list[Path] = []

    def execute(self, path: Path) -> dict[str, Any]:
        """The namespace of the file after executing it.

        Raises:
            ConfigError: naming file and line, if anything in it raises.
        """
        namespace: dict[str, Any] = {
            "__name__": f"<config {path.stem}>",
            "__file__": os.path.abspath(path),
            "__builtins__": {**vars(builtins), "__import__": self._import},
        }
        self._stack.append(path.resolve())
        try:
            code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
            exec(code, namespace)
        except _LocatedError:
            raise
        except Exception as error:
            raise _LocatedError(_describe(error, path)) from error
        finally:
            self._stack.pop()
        return {name: value for name, value in namespace.items() if name != "__builtins__"}

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """What an import statement of a config file calls."""
        if level == 0:
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        importer = Path((globals or {})["__file__"])
        folder = importer.parent
        for _ in range(level - 1):
            folder = folder.parent
        target = folder.joinpath(*name.split(".")) if name else folder
        statement = "." * level + name
        if target.with_name(target.name + ".py").is_file() and name:
            return self._file_module(target.with_name(target.name + ".py"), statement, fromlist or ())
        return self._folder_module(target, statement, fromlist or ())

    def _file_module(self, path: Path, statement: str, names: Sequence[str]) -> ModuleType:
        """``from .file import a, b``"""
        path = _relative_to_cwd(path)
        if path.resolve() in self._stack:
            chain = " -> ".join(p.name for p in [*self._stack, path])
            raise ConfigError(f"circular import of '{statement}': {chain}")
        namespace = self.execute(path)
        for name in names:
            if name != "*" and name not in namespace:
                public = [known for known in namespace if not known.startswith("__")]
                raise ConfigError(
                    f"cannot import '{name}' from '{statement}': {path} has no such name{did_you_mean(name, public)}"
                )
        module = ModuleType(statement)
        vars(module).update({name: _as_node(name, value) for name, value in namespace.items()})
        return module

    def _folder_module(self, folder: Path, statement: str, names: Sequence[str]) -> ModuleType:
        """``from .folder import file``"""
        shown = _relative_to_cwd(folder)
        if not folder.is_dir():
            options = [p.stem for p in folder.parent.glob("*.py")] if folder.parent.is_dir() else []
            hint = did_you_mean(folder.name, options) or (
                "; relative imports lead to config files around this one: keep a copied recipe in the folder it comes "
                "from, or copy what it imports too"
            )
            raise ConfigError(f"cannot import from '{statement}': {shown}.py does not exist{hint}")
        module = ModuleType(statement)
        for name in names:
            path = folder / f"{name}.py"
            if not path.is_file():
                hint = did_you_mean(name, [p.stem for p in folder.glob("*.py")])
                raise ConfigError(f"cannot import '{name}' from '{statement}': {shown / name}.py does not exist{hint}")
            setattr(module, name, self._file_module(path, f"{statement}.{name}", ()))
        return module


def _as_node(name: str, value: Any) -> Any:
    """Imported dicts become nodes, so that a recipe edits them by attribute."""
    return make_node(to_plain(value, name)) if isinstance(value, dict) and not name.startswith("_") else value


def _relative_to_cwd(path: Path) -> Path:
    """The path as a user would type it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def _describe(error: Exception, path: Path) -> str:
    """``file:line: what happened``, with the line of the config file, not of the library it called."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno or 1}: SyntaxError: {error.msg}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    return f"{where}: {error}" if isinstance(error, ConfigError) else f"{where}: {type(error).__name__}: {error}"
