"""Lazy configs: Python files that describe calls, checked before anything is built."""

from pe_dense.config.errors import ConfigError
from pe_dense.config.instantiation import freeze_constants, instantiate, run_constant
from pe_dense.config.lazy import LazyCall
from pe_dense.config.loading import load_config
from pe_dense.config.overrides import apply_overrides, settings_first
from pe_dense.config.serialization import format_config, from_yaml, save_config, to_yaml
from pe_dense.config.validation import validate

__all__ = [
    "ConfigError",
    "LazyCall",
    "apply_overrides",
    "format_config",
    "freeze_constants",
    "from_yaml",
    "instantiate",
    "load_config",
    "run_constant",
    "save_config",
    "settings_first",
    "to_yaml",
    "validate",
]
