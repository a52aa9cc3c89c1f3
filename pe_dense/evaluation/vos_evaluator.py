"""J and F of a model's masks of objects in videos, frame by frame as they are predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pe_dense.evaluation.dense import as_map
from pe_dense.evaluation.gather import Shard, from_first_process, gather_shards, merge_shards
from pe_dense.evaluation.vos import VosData, plan_scoring, score_frame
from pe_dense.evaluation.vos_scores import ObjectScores, vos_metrics, write_vos_tables
from pe_dense.structures.wording import counted, few


class VideoObjectEvaluator:
    """DAVIS's J, F and J&F of predicted masks; an :class:`~pe_dense.evaluation.Evaluator`.

    A sample is one frame. Only two numbers per object and frame are kept. Sequences of which no frame was processed
    take no part; of the others every frame that counts must come, in any order and from any process.

    Args:
        dataset: such as :class:`pe_dense.data.DAVIS2017`.
        output_dir: where ``vos.json`` and the tables are written, in ``vos/``; see :func:`write_vos_tables`.

    Raises:
        ValueError: if the data set has nothing to score.
    """

    task = "vos"

    def __init__(self, dataset: VosData, output_dir: str | Path | None = None) -> None:
        self.dataset = dataset
        self.output_dir = None if output_dir is None else Path(output_dir)
        self._plan = plan_scoring(dataset)
        self._sequences = {sequence.name: sequence for sequence in dataset.sequences}
        counting = [(name, frame) for name, frames in self._plan.items() for frame in frames]
        self._numbers = {key: number for number, key in enumerate(counting)}
        self.reset()

    def reset(self) -> None:
        """Forget every prediction."""
        self._shard: dict[int, bytes] = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Take the predictions of some frames; those that do not count, or were taken before, are passed over.

        Args:
            inputs: samples with ``sequence`` and ``frame``, their names.
            outputs: for each sample ``{"labels": H x W object numbers}``, 0 background, at the annotation's size.

        Raises:
            ValueError: if a sequence is not in the data set, or a mask has another size or unknown objects.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            name, frame = str(sample["sequence"]), str(sample["frame"])
            if name not in self._sequences:
                raise ValueError(
                    f"sequence {name} is not in {self.dataset.source}; loader and evaluator must use the same data"
                )
            number = self._numbers.get((name, frame))
            if number is None or number in self._shard:
                continue
            sequence, label = self._sequences[name], f"{name}, frame {frame}: the prediction"
            truth, prediction = sequence.read_labels(frame), as_map(output, "labels", f"{name}, frame {frame}")
            values = score_frame(truth, prediction, self._plan[name][frame], sequence.objects, label)
            self._shard[number] = orjson.dumps(values.tolist())

    def evaluate(self) -> dict[str, float]:
        """Scores over all frames processed since :meth:`reset`, by any process; collective.

        Returns:
            See :func:`vos_metrics`.

        Raises:
            ValueError: if no frame was processed, or frames of a sequence are missing.
        """
        shards = gather_shards(self._shard, self.output_dir)
        return from_first_process(lambda: self._score(shards or []))

    def _score(self, shards: Sequence[Shard]) -> dict[str, float]:
        rows = merge_shards(shards, len(self._numbers), self.dataset.source)
        begun = {name for (name, _), number in self._numbers.items() if number in rows}
        missing = [f"{n}/{frame}" for (n, frame), number in self._numbers.items() if n in begun and number not in rows]
        if missing:
            raise ValueError(
                f"{counted(len(missing), 'frame')} of sequences that were begun have no prediction: {few(missing)}; "
                "predict every annotated frame of a sequence"
            )
        scores = [one for name in self._plan if name in begun for one in self._objects(name, rows)]
        if self.output_dir is not None:
            write_vos_tables(self.output_dir / "vos", scores)
        return vos_metrics(scores)

    def _objects(self, name: str, rows: Shard) -> list[ObjectScores]:
        values: dict[int, dict[str, list[float]]] = {}
        for frame, scored in self._plan[name].items():
            for number, row in zip(scored, orjson.loads(rows[self._numbers[name, frame]])):
                values.setdefault(number, {})[frame] = row
        seen = self._sequences[name].seen
        return [
            ObjectScores(name, number, tuple(frames), np.array(list(frames.values())), seen.get(number))
            for number, frames in sorted(values.items())
        ]
