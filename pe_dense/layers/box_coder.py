"""Boxes as offsets relative to reference boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MAX_LOG_SCALE = math.log(1000.0 / 16)  # no anchor grows more than this, whatever the network says


class BoxCoder:
    """The (dx, dy, dw, dh) parameterisation of R-CNN (Girshick et al. 2014, appendix C).

    The centre moves by ``dx`` widths and ``dy`` heights; width and height grow by ``exp(dw)`` and ``exp(dh)``.

    Args:
        weights: multipliers of (dx, dy, dw, dh); larger weights make the targets, and so the loss, larger.
        max_log_scale: decoded ``dw`` and ``dh`` are limited to this, so that ``exp`` stays finite.
    """

    def __init__(self, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), max_log_scale: float = _MAX_LOG_SCALE) -> None:
        if len(weights) != 4:
            raise ValueError(f"BoxCoder.weights needs 4 values (dx, dy, dw, dh), got {tuple(weights)}")
        self.weights = tuple(float(w) for w in weights)
        self.max_log_scale = max_log_scale

    def encode(self, reference: Tensor, target: Tensor) -> Tensor:
        """Offsets that turn reference boxes into target boxes.

        Args:
            reference: ... x 4 XYXY, every side positive (others give infinite or undefined offsets).
            target: ... x 4 XYXY.

        Returns:
            ... x 4 offsets.
        """
        x, y, w, h = _centre_size(reference)
        tx, ty, tw, th = _centre_size(target)
        wx, wy, ww, wh = self.weights
        return torch.stack(
            [wx * (tx - x) / w, wy * (ty - y) / h, ww * torch.log(tw / w), wh * torch.log(th / h)], dim=-1
        )

    def decode(self, deltas: Tensor, reference: Tensor) -> Tensor:
        """Boxes that the offsets describe; computed in at least float32 also for half-precision offsets.

        Args:
            deltas: ... x 4 offsets.
            reference: XYXY boxes that broadcast against ``deltas``.

        Returns:
            ... x 4 XYXY boxes.
        """
        dtype = torch.promote_types(deltas.dtype, torch.float32)
        x, y, w, h = _centre_size(reference.to(dtype))
        dx, dy, dw, dh = (d / weight for d, weight in zip(deltas.to(dtype).unbind(-1), self.weights))
        cx, cy = dx * w + x, dy * h + y
        half_w = 0.5 * torch.exp(dw.clamp(max=self.max_log_scale)) * w
        half_h = 0.5 * torch.exp(dh.clamp(max=self.max_log_scale)) * h
        return torch.stack([cx - half_w, cy - half_h, cx + half_w, cy + half_h], dim=-1)


def _centre_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre x, centre y, width and height of ... x 4 XYXY boxes."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    w, h = x1 - x0, y1 - y0
    return x0 + 0.5 * w, y0 + 0.5 * h, w, h
