"""What a prediction of files came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pe_dense.structures.wording import counted


@dataclass
class PredictionReport:
    """What :func:`~pe_dense.prediction.predict_files` did.

    Attributes:
        json_files: each ``predictions.json``: of objects, of depth and of labels, as far as the model predicts them.
        images: how many images were predicted.
        frames: how many frames of videos were predicted.
        broken_frames: how many more could not be decoded.
        objects: how many objects were found in them.
        rejected: how many more had a score below the threshold.
        highest_score: of all objects, rejected ones included; 0 if there is none.
        tasks: what the model predicts: "instances", "depth", "sem_seg".
        written: pictures, videos and point clouds.
        skipped: for each file that could not be read, why.
    """

    json_files: list[Path] = field(default_factory=list)
    images: int = 0
    frames: int = 0
    broken_frames: int = 0
    objects: int = 0
    rejected: int = 0
    highest_score: float = 0.0
    tasks: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        seen = [counted(self.images, "image")] if self.images or not self.frames else []
        seen += [counted(self.frames, "frame of videos")] if self.frames else []
        skipped = f"; skipped, because they could not be read: {len(self.skipped)}" if self.skipped else ""
        skipped += f"; frames that could not be decoded: {self.broken_frames}" if self.broken_frames else ""
        maps = [word for task, word in (("depth", "depth"), ("sem_seg", "labels")) if task in self.tasks]
        parts = [counted(self.objects, "object")] if "instances" in self.tasks or not maps else []
        return f"{', '.join(parts + maps)} in {' and '.join(seen)}{skipped}"
