"""The user's own file of clusters: no cluster's name is in this library."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pe_dense.config.errors import did_you_mean, listing
from pe_dense.launch.options import JobOptions, OptionError, check_names

_SECTIONS = ("defaults", "clusters")


def cluster_file() -> Path:
    """``~/.config/pe_dense/cluster.yaml``, or the same below ``$XDG_CONFIG_HOME``."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pe_dense" / "cluster.yaml"


def load_options(cluster: str | None, given: Mapping[str, Any], path: Path | None = None) -> JobOptions:
    """Options of a job: those given, else those of the named cluster, else the file's defaults, else the library's.

    Args:
        cluster: a name in the file's ``clusters``; None = only its ``defaults``.
        given: by name; they override the file's, mappings key by key.
        path: the file; None = :func:`cluster_file`. Without ``cluster`` it need not exist.

    Raises:
        OptionError: naming the file, the key and the remedy.
    """
    path = path or cluster_file()
    if not path.is_file():
        if cluster is not None:
            raise OptionError(
                f"cluster '{cluster}' is not known: there is no file {path}; write one with a section "
                f"'clusters: {{{cluster}: {{partition: ...}}}}'"
            )
        return JobOptions(**given)
    sections = _read(path)
    options = dict(sections["defaults"])
    if cluster is not None:
        clusters = sections["clusters"]
        if cluster not in clusters:
            hint = did_you_mean(cluster, clusters) or f"; it has {listing(clusters)}"
            raise OptionError(f"{path} has no cluster '{cluster}'{hint}")
        options = _merged(options, clusters[cluster])
    try:
        JobOptions(**options)  # a wrong value in the file must not be taken for one of the command line
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    return JobOptions(**_merged(options, given))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for key in ("env", "sbatch"):
        if isinstance(below.get(key), dict) and isinstance(above.get(key), dict):
            merged[key] = {**below[key], **above[key]}
    return merged


def _read(path: Path) -> dict[str, Any]:
    """The two sections, with the names of all options checked."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise OptionError(f"{path} must be a mapping with the sections {listing(_SECTIONS)}")
    for name in data:
        if name not in _SECTIONS:
            hint = did_you_mean(str(name), _SECTIONS) or f"; sections are {listing(_SECTIONS)}"
            raise OptionError(f"{path}: there is no section '{name}'{hint}")
    sections = {name: data.get(name) or {} for name in _SECTIONS}
    groups = {"defaults": sections["defaults"]}
    if isinstance(sections["clusters"], dict):
        groups |= {f"clusters.{name}": group or {} for name, group in sections["clusters"].items()}
        sections["clusters"] = {str(name): group or {} for name, group in sections["clusters"].items()}
    else:
        groups["clusters"] = sections["clusters"]
    for name, group in groups.items():
        if not isinstance(group, dict):
            raise OptionError(f"{path}: '{name}' must be a mapping of options, it is {type(group).__name__}")
        check_names(group, f"{path}: {name}")
    return sections
