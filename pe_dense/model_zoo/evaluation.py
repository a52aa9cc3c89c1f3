"""A released detector on its benchmark."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pe_dense import engine
from pe_dense.model_zoo.entries import find_entry
from pe_dense.model_zoo.loading import build_model, released_config


def evaluate(
    name: str,
    overrides: Sequence[str] = (),
    output: str | Path | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> dict[str, float]:
    """Evaluate with the released settings, in the process group if there is one.

    Args:
        name, weights: see :func:`~pe_dense.model_zoo.load`.
        overrides: changes to the recipe, such as ``data.root=/data/coco``.
        output: folder for the results; None = ``inference/`` in ``train.output_dir``.

    Returns:
        The evaluator's results.

    Raises:
        ValueError: also if the test data has other categories than the model, or the folder other results.
        FileNotFoundError, WeightsError: see :func:`~pe_dense.model_zoo.load`.
    """
    cfg = released_config(name, weights, overrides)
    weights_file = Path(cfg.model.weights)
    return engine.evaluate(cfg, weights_file, output, build_model(cfg), find_entry(name).categories)
