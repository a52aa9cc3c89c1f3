"""Evaluation of a model on a data set, and the note of what was evaluated."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pe_dense.config import ConfigError
from pe_dense.engine import distributed as dist
from pe_dense.engine.config_diff import changed_keys, describe_changes, flat_config
from pe_dense.engine.parallel import is_sharded
from pe_dense.engine.rng import rng_shield
from pe_dense.engine.run_directory import RunDirectoryError
from pe_dense.engine.run_log import json_numbers
from pe_dense.engine.trainer import autocast, to_device
from pe_dense.evaluation import Evaluator
from pe_dense.structures import Categories
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

RECORD_NAME = "evaluation.json"

_REPORT_SECONDS = 30.0
_AGREE_EVERY = 10


@dataclass(frozen=True)
class Evaluation:
    """Test data, its evaluator, and the folder of the results.

    ``evaluation.json`` in that folder tells what the files beside it are: ``checkpoint`` (null: weights of the running
    training, or of the model as its config builds it), ``step``, ``results`` (null: it did not get that far) and the
    ``config`` of model, test data and evaluator.

    Attributes:
        loader: each process's share of the test data.
        evaluator: writes its files to ``folder``.
        folder: usually ``inference/`` of the run.
        config: plain data.
    """

    loader: Iterable[list[dict[str, Any]]]
    evaluator: Evaluator
    folder: Path
    config: dict[str, Any]

    @property
    def categories(self) -> Categories | None:
        """Of the test data, if it has any."""
        return getattr(getattr(self.loader, "dataset", None), "categories", None)

    @property
    def pixel_classes(self) -> list[str] | None:
        """Of the test data, if it has any."""
        return getattr(getattr(self.loader, "dataset", None), "classes", None)

    def check_masks(self, model: nn.Module) -> None:
        """What the model predicts and what the evaluator scores must fit, as far as both tell.

        Masks that are predicted and not scored are only warned of.

        Args:
            model: with ``predicts_masks``, if it is a detector.

        Raises:
            ConfigError: if masks are scored and none predicted.
        """
        predicted = getattr(model, "predicts_masks", None)
        several = getattr(self.evaluator, "evaluators", None) or {"": self.evaluator}
        for name, evaluator in several.items():
            scored = getattr(evaluator, "scores_masks", None)
            key = f"evaluator.{name}.tasks" if name else "evaluator.tasks"
            if predicted is False and scored:
                raise ConfigError(f"{key} contains segm but the model predicts no masks: set {key}=[bbox]")
            if predicted and scored is False and dist.is_main():
                logger.warning("the model predicts masks, the evaluator looks at bbox only: %s=[bbox,segm]", key)

    def check_folder(self, key: str) -> None:
        """Results of another evaluation must not be overwritten.

        Raises:
            RunDirectoryError: if model, test data or evaluator of the results in the folder are others.
        """
        path = self.folder / RECORD_NAME
        if not path.is_file():
            return
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunDirectoryError(f"{path} is damaged ({error}): delete it, or choose another {key}") from error
        saved, present = flat_config(record["config"]), flat_config(self.config)
        changed = [k for k in changed_keys(saved, present) if not k.endswith(".num_workers")]
        if changed:
            raise RunDirectoryError(
                f"{self.folder} holds the results of another evaluation, which differs in "
                f"{describe_changes(changed, saved, present)}: choose another {key}"
            )

    def run(
        self,
        model: nn.Module,
        device: torch.device,
        precision: str,
        step: int | None,
        checkpoint: Path | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> dict[str, float] | None:
        """See :func:`run_inference`; ``step`` and ``checkpoint`` say where the weights come from."""
        record = {"checkpoint": str(checkpoint) if checkpoint is not None else None, "step": step, "results": None}
        self._write(record)
        results = run_inference(model, self.loader, self.evaluator, device, precision, should_stop)
        if results is not None:
            self._write({**record, "results": json_numbers(results)})
        return results

    def _write(self, record: dict[str, Any]) -> None:
        if dist.is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**record, "config": self.config}, indent=1)
            (self.folder / RECORD_NAME).write_text(text + "\n", encoding="utf-8")


def run_inference(
    model: nn.Module,
    loader: Iterable[list[dict[str, Any]]],
    evaluator: Evaluator,
    device: torch.device,
    precision: str = "fp32",
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, float] | None:
    """Predict every image of a test loader and evaluate; the model's mode and all generators stay as they were.

    Args:
        model: on ``device``; in evaluation mode ``model(batch)`` gives one dict per sample.
        loader: each process's share of the data set.
        evaluator: is reset first.
        device: where the samples go.
        precision: "fp32" or "bf16".
        should_stop: asked after every batch; True in one process cuts the evaluation of all short.

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
    should_stop: Callable[[], bool] | None,
) -> bool:
    evaluator.reset()
    started = reported = time.perf_counter()
    images = 0
    for turn, (batch, counts) in enumerate(_in_step(model, loader)):
        predictions = model([to_device(sample, device) for sample in batch]) if batch else []
        if counts:
            evaluator.process(batch, predictions)
            images += len(batch)
        if should_stop is not None and _anyone(should_stop(), turn):
            logger.warning("evaluation cut short after %s", counted(images, "image"))
            return False
        if time.perf_counter() - reported > _REPORT_SECONDS:
            reported = time.perf_counter()
            logger.info("evaluated %s, %.3f s/image", counted(images, "image"), (reported - started) / images)
    seconds = time.perf_counter() - started
    images = round(dist.mean_over_processes([float(images)])[0] * dist.world_size())
    logger.info("predicted %s in %.1f s (%.3f s/image)", counted(images, "image"), seconds, seconds / max(1, images))
    return True


def _in_step(model: nn.Module, loader: Iterable[list[dict[str, Any]]]) -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """This process's batches, each with whether it counts; then one turn for every batch that others have more.

    A sharded model needs all processes for each pass: in these turns it gets the last batch again, which does not
    count. Any other model gets nothing.
    """
    if dist.world_size() == 1:
        yield from ((batch, True) for batch in loader)
        return
    own = len(loader)  # type: ignore[arg-type]  # a test loader has a length
    most = int(dist.max_over_processes([float(own)])[0])
    if is_sharded(model) and most and not own:
        raise ValueError("there are fewer test images than processes: evaluate with fewer, or with train.parallel=ddp")
    batch: list[dict[str, Any]] = []
    for batch in loader:
        yield batch, True
    for _ in range(most - own):
        yield batch if is_sharded(model) else [], False


def _anyone(wants: bool, turn: int) -> bool:
    """Whether a process wants to stop; several processes ask each other at every tenth turn only."""
    if dist.world_size() == 1:
        return wants
    return turn % _AGREE_EVERY == 0 and bool(dist.max_over_processes([float(wants)])[0])


def _eager() -> contextlib.AbstractContextManager[Any]:
    """Test images have many sizes: compiling for each would take longer than running them."""
    return torch.compiler.set_stance("force_eager")
