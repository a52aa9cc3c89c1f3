"""What the model computes, before it becomes losses or detections."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Predictions:
    """Boxes of B images by D layers that are trained alike; boxes are (centre x, y, width, height) in fractions of
    the image.

    Attributes:
        logits: D x B x N x C.
        boxes: D x B x N x 4.
        reference: B x N x 4, the boxes that were refined.
    """

    logits: Tensor
    boxes: Tensor
    reference: Tensor
