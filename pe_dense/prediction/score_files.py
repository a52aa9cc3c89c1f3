"""The files of a layer probe's scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pe_dense.engine import distributed as dist
from pe_dense.engine.run_directory import writing_to
from pe_dense.evaluation import LayerScores
from pe_dense.evaluation.layer_scores import lower_is_better
from pe_dense.visualization import LayerCurve, plot_layers

logger = logging.getLogger(__name__)


def write_scores(scores: LayerScores, folder: Path, name: str, metrics: Sequence[str] | None = None) -> None:
    """Write ``<name>.json``, ``<name>.csv`` and ``<name>.png``, in the main process.

    Args:
        metrics: what to draw; ``None`` takes the usual ones.
    """
    drawn = scores.headlines if metrics is None else list(metrics)
    for metric in drawn:
        scores.check(metric)
    if not dist.is_main():
        return
    curves = [LayerCurve(m, scores.scores[m], scores.best(m), lower_is_better(m)) for m in drawn]
    with writing_to(folder):
        paths = [*scores.save(folder / name), plot_layers(curves, folder / f"{name}.png", folder.name)]
    logger.info("wrote %s", ", ".join(map(str, paths)))
