"""Generators of a process."""

import random
from pathlib import Path

import numpy as np
import torch

from pe_dense.engine.rng import get_rng_state, rng_shield, seed_all, set_rng_state


def draw() -> tuple[float, ...]:
    return (random.random(), random.gauss(0, 1), float(np.random.randn()), float(torch.randn(())))


def test_state_survives_a_safe_file(tmp_path: Path) -> None:
    seed_all(3)
    draw()
    torch.save(get_rng_state(), tmp_path / "rng.pt")
    expected = [draw(), draw()]
    set_rng_state(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert [draw(), draw()] == expected


def test_shield_and_seed() -> None:
    seed_all(5)
    first = draw()
    seed_all(5)
    with rng_shield():
        draw()
        seed_all(1)
    assert draw() == first
