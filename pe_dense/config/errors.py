"""The one error of the config room, and the wording its messages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class ConfigError(ValueError):
    """A config, an override or a saved config is wrong; the message names the file or key at fault and the remedy."""


class UnsetError(ConfigError):
    """A value that the user must give, ``???`` in the config, is needed."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key}: must be set; add {key}=VALUE to the command line")


class ConfigFileNotFoundError(ConfigError, FileNotFoundError):
    """The config file itself does not exist."""


def did_you_mean(name: str, options: Iterable[object], prefix: str = "") -> str:
    """The end of a sentence: ``; did you mean 'x'?`` with the closest option, or nothing if none is close."""
    close = get_close_matches(name, [str(option) for option in options], n=1)
    return f"; did you mean '{prefix}{close[0]}'?" if close else ""


def listing(names: Iterable[object]) -> str:
    """``a, b, c`` or ``(none)``."""
    return ", ".join(str(name) for name in names) or "(none)"


def raise_all(errors: Sequence[str], origin: str = "") -> None:
    """Report collected errors together: one as a sentence, several as a numbered list. No errors: do nothing.

    Raises:
        ConfigError: if there is any error.
    """
    where = f"{origin}: " if origin else ""
    if len(errors) == 1:
        raise ConfigError(f"{where}{errors[0]}")
    if errors:
        lines = "".join(f"\n  {number}. {error}" for number, error in enumerate(errors, 1))
        raise ConfigError(f"{where}{len(errors)} errors in the config:{lines}")
