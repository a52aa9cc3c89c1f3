"""HOTA, CLEAR MOT and identity metrics of a detector and a tracker, frame by frame as objects are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from torch import Tensor

from pe_dense.evaluation.gather import Shard, from_first_process, gather_shards, merge_shards
from pe_dense.evaluation.mot import (
    COMBINED,
    MOT15,
    ScoreTable,
    TrackingProtocol,
    TrackingScores,
    score_sequence,
    write_scores,
)
from pe_dense.structures import Categories, Instances, Tracks
from pe_dense.structures.wording import counted, few

_RATES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR")
_COUNTS = {"FP": "CLR_FP", "FN": "CLR_FN", "IDSW": "IDSW", "tracks": "GT_IDs", "MT": "MT", "PT": "PT", "ML": "ML",
           "Frag": "Frag"}  # fmt: skip


class VideoClip(Protocol):
    """A video."""

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> Sequence[Any]:
        """One for each frame."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        ...


class TrackingData(Protocol):
    """Videos with ground truth of tracking, such as :class:`pe_dense.data.mot.TrackedFrames`."""

    @property
    def source(self) -> str:
        """Where it comes from, for messages."""
        ...

    @property
    def categories(self) -> Categories | None:
        """Of the objects, if classes are known."""
        ...

    @property
    def clips(self) -> Sequence[VideoClip]: ...

    def read_ground_truth(self, clip: int) -> Tracks:
        """Of one clip."""
        ...

    def write_results(self, folder: str | Path, clip: int, results: Tracks) -> None:
        """Write the results of one clip in the benchmark's format."""
        ...


class ObjectTracker(Protocol):
    """Gives objects an identity, such as :class:`pe_dense.modeling.tracking.association.Tracker`."""

    @property
    def uses_embeddings(self) -> bool:
        """Whether it looks at what objects look like."""
        ...

    def reset(self, frame_rate: float | None = None) -> None:
        """A new video begins."""

    def update(
        self, objects: Instances, frame: int | None = None, warp: None = None, embeddings: Tensor | None = None
    ) -> Instances:
        """Those of a frame's objects that have an identity, with ``track_ids``."""
        ...


class MotEvaluator:
    """Metrics of multi-object tracking of a detector with a tracker; an :class:`~pe_dense.evaluation.Evaluator`.

    A sample is one frame, and every process sees whole sequences, frame after frame, as ``build_test_loader`` gives
    them. The numbers are those of ``tools/evaluate_mot.py`` on the results of ``tools/track.py``. Sequences of which no
    frame was processed take no part.

    Args:
        dataset: the data that the test loader loads.
        tracker: is reset for each sequence. If it looks at appearance, and the model's predictions have ``embeddings``,
            it gets them.
        protocol: what to leave out, such as :data:`~pe_dense.evaluation.mot.MOT17`; ``None``: all objects of the ground
            truth that are not marked as ignored count, whatever their class (:data:`~pe_dense.evaluation.mot.MOT15`).
        output_dir: where the results of each sequence are written, in ``tracks/``, and ``mot.json``, all numbers of
            each sequence.

    Raises:
        FileNotFoundError: if a sequence has no ground truth.
        ValueError: if a ground truth is wrong.
    """

    task = "mot"

    def __init__(
        self,
        dataset: TrackingData,
        tracker: ObjectTracker,
        protocol: TrackingProtocol | None = None,
        output_dir: str | Path | None = None,
    ) -> None:
        self.dataset, self.tracker = dataset, tracker
        self.protocol = MOT15 if protocol is None else protocol
        self.output_dir = None if output_dir is None else Path(output_dir)
        self._clips: dict[str, int] = {clip.name: number for number, clip in enumerate(dataset.clips)}
        self._starts = np.cumsum([0, *(len(clip.files) for clip in dataset.clips)]).tolist()
        self._truth = [dataset.read_ground_truth(number) for number in range(len(dataset.clips))]
        self.reset()

    def reset(self) -> None:
        """Forget everything collected so far."""
        self._shard: dict[int, bytes] = {}
        self._next: tuple[str, int] | None = None

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Track through some frames.

        Args:
            inputs: samples with ``sequence``, its name, and ``frame``, from 0.
            outputs: for each sample ``instances`` in the original image's coordinates, and perhaps ``embeddings``.

        Raises:
            ValueError: if a sequence is not in the data set, frames do not come one after the other, or the tracker
                cannot use an object.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            name, frame = str(sample["sequence"]), int(sample["frame"])
            clip = self._begin(name, frame)
            vectors = output.get("embeddings") if self.tracker.uses_embeddings else None
            try:
                found = self.tracker.update(output["instances"].to("cpu"), frame, None, vectors)
            except ValueError as error:
                raise ValueError(f"sequence {name}, frame {frame}: {error}") from error
            self._shard[self._starts[clip] + frame] = orjson.dumps(_rows(found))
            self._next = (name, frame + 1)

    def evaluate(self) -> dict[str, float]:
        """Scores of all sequences processed since :meth:`reset`, by any process; collective.

        Returns:
            "mot/HOTA", "mot/IDF1", "mot/MOTA" and the others of TrackEval in percent, then counts, over all sequences;
            with a protocol of several classes "mot/car/HOTA" and so on.

        Raises:
            ValueError: if no frame was processed, or frames of a sequence are missing.
        """
        shards = gather_shards(self._shard, self.output_dir)
        return from_first_process(lambda: self._score(shards or []))

    def _begin(self, name: str, frame: int) -> int:
        """The number of a frame's clip; the tracker is made ready for it."""
        if name not in self._clips:
            raise ValueError(
                f"sequence {name} is not in {self.dataset.source}; loader and evaluator must use the same data"
            )
        clip = self._clips[name]
        if frame == 0:
            self.tracker.reset(self.dataset.clips[clip].frame_rate)
        elif self._next != (name, frame):
            raise ValueError(
                f"frame {frame} of sequence {name} does not follow the frame before it: a process needs whole "
                f"sequences, frame after frame; load them with build_test_loader from a data set such as MotFrames"
            )
        return clip

    def _score(self, shards: Sequence[Shard]) -> dict[str, float]:
        rows = merge_shards(shards, self._starts[-1], self.dataset.source)
        table: ScoreTable = {}
        for name, clip in self._clips.items():
            places = range(self._starts[clip], self._starts[clip + 1])
            missing = [str(place - places.start) for place in places if place not in rows]
            if len(missing) == len(places):
                continue
            if missing:
                raise ValueError(
                    f"{counted(len(missing), 'frame')} of sequence {name} have no result: {few(missing)}; "
                    f"predict every frame of a sequence"
                )
            results = self._results([orjson.loads(rows[place]) for place in places])
            if self.output_dir is not None:
                self.dataset.write_results(self.output_dir / "tracks", clip, results)
            scores = score_sequence(self._truth[clip], results, len(places), self.protocol, f"sequence {name}")
            for label, numbers in scores.items():
                table.setdefault(label, {})[name] = numbers
        for sequences in table.values():
            sequences[COMBINED] = TrackingScores.combine(list(sequences.values()))
        if self.output_dir is not None:
            write_scores(table, self.output_dir / "mot.json")
        return _metrics(table)

    def _results(self, frames: Sequence[Sequence[Sequence[float]]]) -> Tracks:
        """Of one sequence, from what :func:`_rows` made of each frame; classes are the data set's numbers."""
        numbers = np.repeat(np.arange(len(frames)), [len(rows) for rows in frames])
        values = np.array([row for rows in frames for row in rows], dtype=np.float64).reshape(-1, 7)
        classes = values[:, 1].astype(np.int64)
        categories = self.dataset.categories
        if categories is None:
            classes = np.ones_like(classes)
        elif len(classes) and classes.max() >= len(categories):
            raise ValueError(
                f"the model predicts class {classes.max()} (counted from 0) but {self.dataset.source} has "
                f"{counted(len(categories), 'class')}; set num_classes to that"
            )
        else:
            classes = np.array(categories.ids, dtype=np.int64)[classes]
        return Tracks.create(numbers, values[:, 3:], values[:, 0].astype(np.int64), values[:, 2], classes)


def _rows(found: Instances) -> list[list[float]]:
    """Id, class, score and box of each object."""
    assert found.track_ids is not None
    classes = found.boxes.new_zeros(len(found)) if found.classes is None else found.classes
    scores = found.boxes.new_ones(len(found)) if found.scores is None else found.scores
    columns = zip(found.track_ids.tolist(), classes.tolist(), scores.tolist(), found.boxes.double().tolist())
    return [[track, kind, score, *box] for track, kind, score, box in columns]


def _metrics(table: ScoreTable) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for label, sequences in table.items():
        prefix = "mot" if len(table) == 1 else f"mot/{label}"
        values = sequences[COMBINED].metrics()
        numbers.update({f"{prefix}/{name}": 100 * values[name] for name in _RATES})
        numbers.update({f"{prefix}/{name}": values[key] for name, key in _COUNTS.items()})
    return numbers
