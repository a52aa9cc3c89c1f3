"""Objects of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from pe_dense.structures.masks import RoiMasks
from pe_dense.structures.wording import counted


@dataclass
class Instances:
    """N objects of one image. Every field that is not ``None`` has N rows.

    Attributes:
        image_size: (height, width) of the image the coordinates refer to.
        boxes: N x 4 float32, XYXY absolute pixels.
        classes: N int64, contiguous class index 0..K-1.
        scores: N float32 in [0, 1].
        masks: N x H x W bool (H, W = ``image_size``), or :class:`RoiMasks` (predictions, pasted on demand).
        crowd: N bool, True for COCO crowd regions.
        track_ids: N int64, identity over time.

    Raises:
        ValueError: if a field does not have N rows.
    """

    image_size: tuple[int, int]
    boxes: Tensor
    classes: Tensor | None = None
    scores: Tensor | None = None
    masks: Tensor | RoiMasks | None = None
    crowd: Tensor | None = None
    track_ids: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in self._rows().items():
            if len(value) != len(self.boxes):
                raise ValueError(f"Instances.{name} has {len(value)} rows but boxes has {len(self.boxes)}")

    def _rows(self) -> dict[str, Any]:
        """The per-object fields that are set."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "image_size"}
        return {name: value for name, value in named.items() if value is not None}

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"Instances({counted(len(self), 'object')} in {height} x {width}: {', '.join(self._rows())})"

    def __getitem__(self, index: Tensor | slice) -> Instances:
        """Select objects by a boolean mask, an index tensor or a slice."""
        return replace(self, **{name: value[index] for name, value in self._rows().items()})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Instances:
        """Copy with every tensor on ``device``."""
        moved = {name: value.to(device, non_blocking=non_blocking) for name, value in self._rows().items()}
        return replace(self, **moved)

    @classmethod
    def cat(cls, parts: Sequence[Instances]) -> Instances:
        """Join objects of the same image. Fields that are not set in every part are dropped."""
        shared = set.intersection(*(set(p._rows()) for p in parts))
        joined: dict[str, Any] = {}
        for name in shared:
            values = [getattr(p, name) for p in parts]
            joined[name] = RoiMasks.cat(values) if isinstance(values[0], RoiMasks) else torch.cat(values)
        return cls(parts[0].image_size, **joined)

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> Instances:
        """No objects, with boxes, classes and scores set."""
        return cls(image_size, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
