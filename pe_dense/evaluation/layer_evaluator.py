"""Scores of several layers of an encoder, each by the evaluator of its task."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pe_dense.evaluation.evaluator import Evaluator
from pe_dense.evaluation.gather import from_first_process, gather_values
from pe_dense.evaluation.table import is_per_class


class LayerEvaluator:
    """A copy of an evaluator for each layer that a :class:`LayerProbe` predicts with; an :class:`Evaluator`.

    Numbers of single classes are left out.

    Args:
        evaluator: of the task.
        output_dir: given by every run; the predictions of layers are not kept.
    """

    def __init__(self, evaluator: Evaluator, output_dir: str | Path | None = None) -> None:
        self._template = evaluator
        self._shared = getattr(evaluator, "dataset", None)  # ground truth that copies need not have again
        self._layers: dict[int, Evaluator] = {}

    def reset(self) -> None:
        """Forget every prediction."""
        self._layers = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[int, Any]]) -> None:
        """Take the predictions of a batch.

        Args:
            inputs: samples.
            outputs: for each sample the prediction of each layer.

        Raises:
            ValueError: see the evaluator of the task.
        """
        for layer in outputs[0] if outputs else ():
            self._of(layer).process(inputs, [output[layer] for output in outputs])

    def evaluate(self) -> dict[str, float]:
        """Score all images processed since :meth:`reset`, by any process; collective.

        Returns:
            What the task's evaluator gives, as "layer_07/depth/rmse", layer by layer.

        Raises:
            ValueError: if no image was processed, and see the evaluator of the task.
        """
        shares = gather_values(list(self._layers))
        layers = from_first_process(lambda: sorted({layer for share in shares or () for layer in share}))
        if not layers:
            raise ValueError("no image was processed, so no layer can be evaluated; is the loader empty?")
        return {
            f"layer_{layer:02d}/{key}": value
            for layer in layers
            for key, value in self._of(layer).evaluate().items()
            if not is_per_class(key)
        }

    def _of(self, layer: int) -> Evaluator:
        if layer not in self._layers:
            self._layers[layer] = copy.deepcopy(self._template, {id(self._shared): self._shared})
            self._layers[layer].reset()
        return self._layers[layer]
