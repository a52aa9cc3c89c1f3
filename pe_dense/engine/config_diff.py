"""In which keys two configs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pe_dense.structures.wording import counted

_SHOWN = 8
_NOTHING = object()


def flat_config(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """All leaves of a config with interpolations resolved, by dotted key."""
    leaves: dict[str, Any] = {}

    def walk(node: Any, key: str) -> None:
        items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else None
        if not items or not node:
            leaves[key] = node
            return
        for name, child in items:
            walk(child, f"{key}.{name}" if key else str(name))

    walk(OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg, "")
    return leaves


def changed_keys(saved: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Keys of two flat configs whose values differ or that only one of them has, sorted."""
    return sorted(k for k in saved.keys() | present.keys() if saved.get(k, _NOTHING) != present.get(k, _NOTHING))


def describe_changes(keys: Sequence[str], saved: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    """``2 keys (a.b: 1 -> 2; a.c: not set -> 3)``; of many keys the first few."""
    shown = "; ".join(f"{k}: {saved.get(k, 'not set')} -> {present.get(k, 'not set')}" for k in keys[:_SHOWN])
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{counted(len(keys), 'key')} ({shown}{more})"
