"""Evaluation of a model on a data set."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from pe_dense.engine import distributed as dist
from pe_dense.engine.rng import rng_shield
from pe_dense.engine.trainer import autocast, to_device
from pe_dense.evaluation import Evaluator

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 30.0


def run_inference(
    model: nn.Module,
    loader: Iterable[list[dict[str, Any]]],
    evaluator: Evaluator,
    device: torch.device,
    precision: str = "fp32",
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Predict every image of a test loader and evaluate; the model's mode and all generators stay as they were.

    Args:
        model: on ``device``; in evaluation mode ``model(batch)`` gives one dict per sample.
        loader: each process's share of the data set.
        evaluator: is reset first.
        device: where the samples go.
        precision: "fp32" or "bf16".
        should_stop: asked after every batch; True cuts the evaluation short.

    Returns:
        The evaluator's results, the same in every process, or None if it was cut short.
    """
    was_training = model.training
    model.eval()
    try:
        # no_grad, not inference_mode: tables that the model caches here are used in training again
        with rng_shield(), torch.no_grad(), _eager(), autocast(device, precision):
            if not _predict(model, loader, evaluator, device, should_stop):
                return None
            return dist.broadcast_object(evaluator.evaluate())
    finally:
        model.train(was_training)


def _predict(
    model: nn.Module,
    loader: Iterable[list[dict[str, Any]]],
    evaluator: Evaluator,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> bool:
    evaluator.reset()
    started = reported = time.perf_counter()
    images = 0
    for batch in loader:
        evaluator.process(batch, model([to_device(sample, device) for sample in batch]))
        images += len(batch)
        if should_stop():
            logger.warning("evaluation cut short after %d images", images)
            return False
        if time.perf_counter() - reported > _REPORT_SECONDS:
            reported = time.perf_counter()
            logger.info("evaluated %d images, %.3f s/image", images, (reported - started) / images)
    seconds = time.perf_counter() - started
    logger.info("predicted %d images in %.1f s (%.3f s/image)", images, seconds, seconds / max(1, images))
    return True


def _eager() -> contextlib.AbstractContextManager[Any]:
    """Test images have many sizes: compiling for each would take longer than running them."""
    return torch.compiler.set_stance("force_eager")
