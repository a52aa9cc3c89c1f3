"""How often the right class is among the most likely ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from pe_dense.evaluation.dense import DenseData, image_id_of
from pe_dense.evaluation.gather import Shard, from_first_process, gather_shards, merge_shards


class ClassData(DenseData, Protocol):
    """Ground truth of classification; image ids are 0 to N - 1."""

    def label(self, index: int) -> int:
        """Class index of an image."""


class ClassificationEvaluator:
    """Top-1 and top-5 accuracy in percent, over images; an :class:`~pe_dense.evaluation.Evaluator`.

    Args:
        dataset: with ``label(i)`` and ``file_name(i)``, i being the samples' ``image_id``.
        output_dir: where several processes exchange their results.
    """

    def __init__(self, dataset: ClassData, output_dir: str | Path | None = None) -> None:
        self.dataset = dataset
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.reset()

    def reset(self) -> None:
        """Forget every prediction."""
        self._shard: dict[int, bytes] = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Take the predictions of a batch.

        Args:
            inputs: samples with ``image_id``.
            outputs: for each sample ``{"classes": K scores}``.

        Raises:
            ValueError: if an image is not in the data set, or its class is none of the model's.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            image_id = image_id_of(sample, self.dataset)
            scores, label = output["classes"].float().cpu().numpy(), self.dataset.label(image_id)
            if label >= len(scores):
                raise ValueError(
                    f"{self.dataset.file_name(image_id)}: its class index is {label} but the model knows "
                    f"{len(scores)} classes; set num_classes to the data set's number of classes"
                )
            order = np.argsort(-scores, kind="stable")  # of equal scores the lower class is ahead
            rank = int(np.flatnonzero(order == label)[0]) if np.isfinite(scores[label]) else len(scores)
            self._shard[image_id] = orjson.dumps(rank)

    def evaluate(self) -> dict[str, float]:
        """Accuracy over all images processed since :meth:`reset`, by any process; collective.

        Returns:
            "classification/top1", "classification/top5" and "classification/images" in every process.

        Raises:
            ValueError: if no image was processed.
        """
        shards = gather_shards(self._shard, self.output_dir)
        return from_first_process(lambda: self._score(shards or []))

    def _score(self, shards: Sequence[Shard]) -> dict[str, float]:
        merged = merge_shards(shards, len(self.dataset), "the data set")
        ranks = [orjson.loads(text) for text in merged.values()]
        top = {f"top{n}": 100 * sum(rank < n for rank in ranks) / len(ranks) for n in (1, 5)}
        return {f"classification/{name}": value for name, value in {**top, "images": float(len(ranks))}.items()}
