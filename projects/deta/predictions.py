"""What the model computes, before it becomes losses or detections."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass
class MaskSource:
    """What masks are made of.

    Attributes:
        features: B x N x C, what the last layer holds of each query.
        pixels: B x E x H x W, vectors of the cells of a map.
        cells: H / height and W / width of the padded batch: cells of that map in each of its pixels.
    """

    features: Tensor
    pixels: Tensor
    cells: tuple[float, float]

    def in_cells(self, boxes: Tensor) -> Tensor:
        """... x 4 boxes (x, y, x, y) from pixels to cells."""
        height, width = self.cells
        return boxes * boxes.new_tensor([width, height, width, height])


@dataclass
class Predictions:
    """Boxes of B images by D layers that are trained alike; boxes are (centre x, y, width, height) in fractions of
    the image.

    Attributes:
        logits: D x B x N x C.
        boxes: D x B x N x 4.
        reference: B x N x 4, the boxes that were refined.
        masks: what the masks of queries are made of; ``None`` without masks.
    """

    logits: Tensor
    boxes: Tensor
    reference: Tensor
    masks: MaskSource | None = None

    def part(self, first: int | None, last: int | None) -> Predictions:
        """Of the queries ``first`` to before ``last``."""
        part = slice(first, last)
        masks = None if self.masks is None else replace(self.masks, features=self.masks.features[:, part])
        return Predictions(self.logits[:, :, part], self.boxes[:, :, part], self.reference[:, part], masks)
