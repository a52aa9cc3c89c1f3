"""Random-number generators of one process: seed, save, restore, shield."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

RngState = dict[str, Any]
"""State of Python's, NumPy's and PyTorch's generators, in types that ``torch.load(weights_only=True)`` reads."""


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (CPU and every GPU)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def get_rng_state(cuda: bool = True) -> RngState:
    """The present state; ``cuda`` adds the current GPU's when CUDA is in use."""
    numpy_state = np.random.get_state(legacy=False)
    keys = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    state: RngState = {
        "python": random.getstate(),
        "numpy": {**numpy_state, "state": {"key": keys, "pos": int(numpy_state["state"]["pos"])}},
        "torch": torch.get_rng_state(),
    }
    if cuda and torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Restore what :func:`get_rng_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    twister = state["numpy"]["state"]
    keys = twister["key"].numpy().astype(np.uint32)
    np.random.set_state({**state["numpy"], "state": {"key": keys, "pos": twister["pos"]}})
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def rng_shield(cuda: bool = True) -> Iterator[None]:
    """Whatever runs inside (data loading, evaluation) leaves the generators as they were."""
    state = get_rng_state(cuda)
    try:
        yield
    finally:
        set_rng_state(state)
