"""Instance masks predicted inside boxes, pasted into the image only when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor

from pe_dense.structures.wording import counted

_PASTE_PIXELS = 1 << 25  # pixels sampled at a time: bounds memory whatever the image size


def paste_masks(probs: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Bilinearly sample M x M mask probabilities over the whole image (Mask R-CNN, detectron2's alignment).

    Args:
        probs: N x M x M in [0, 1].
        boxes: N x 4 XYXY absolute pixels, where each mask lies.
        image_size: (height, width) of the result.

    Returns:
        N x height x width float32 probabilities, 0 outside the boxes.
    """
    height, width = image_size
    x0, y0, x1, y1 = boxes.float()[:, :, None].unbind(1)
    ys = torch.arange(height, device=probs.device, dtype=torch.float32) + 0.5
    xs = torch.arange(width, device=probs.device, dtype=torch.float32) + 0.5
    ys = (ys - y0) / (y1 - y0) * 2 - 1
    xs = (xs - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack(
        [xs[:, None, :].expand(-1, height, -1), ys[:, :, None].expand(-1, -1, width)], dim=3
    ).nan_to_num_(nan=0.0, posinf=2.0, neginf=-2.0)
    return F.grid_sample(probs[:, None].float(), grid, align_corners=False)[:, 0]


@dataclass
class RoiMasks:
    """N predicted masks of one image, kept as small probability maps.

    Attributes:
        probs: N x M x M in [0, 1].
        boxes: N x 4 XYXY absolute pixels.
        image_size: (height, width).
        threshold: probability at and above which a pixel belongs to the object.
    """

    probs: Tensor
    boxes: Tensor
    image_size: tuple[int, int]
    threshold: float = 0.5

    def __len__(self) -> int:
        return len(self.probs)

    def __repr__(self) -> str:
        size, (height, width) = self.probs.shape[-1], self.image_size
        return f"RoiMasks({counted(len(self), 'mask')} of {size} x {size} in {height} x {width})"

    def __getitem__(self, index: Tensor | slice) -> RoiMasks:
        return RoiMasks(self.probs[index], self.boxes[index], self.image_size, self.threshold)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RoiMasks:
        """Copy with every tensor on ``device``."""
        probs, boxes = (t.to(device, non_blocking=non_blocking) for t in (self.probs, self.boxes))
        return RoiMasks(probs, boxes, self.image_size, self.threshold)

    @classmethod
    def cat(cls, parts: Sequence[RoiMasks]) -> RoiMasks:
        """Join masks of the same image."""
        first = parts[0]
        probs, boxes = torch.cat([p.probs for p in parts]), torch.cat([p.boxes for p in parts])
        return cls(probs, boxes, first.image_size, first.threshold)

    def bitmasks(self) -> Tensor:
        """All masks in the image: N x H x W bool."""
        if not len(self):
            return torch.zeros((0, *self.image_size), dtype=torch.bool, device=self.probs.device)
        step = max(1, _PASTE_PIXELS // max(1, self.image_size[0] * self.image_size[1]))
        pasted = [
            paste_masks(p, b, self.image_size) >= self.threshold
            for p, b in zip(self.probs.split(step), self.boxes.split(step))
        ]
        return torch.cat(pasted)

    def rle(self) -> list[dict[str, Any]]:
        """COCO run-length encodings, made a few masks at a time and, per mask, only inside its box."""
        probs, boxes = self.probs.float().cpu(), self.boxes.float().cpu()
        return [self._rle_of(p, b) for p, b in zip(probs, boxes)]

    def _rle_of(self, prob: Tensor, box: Tensor) -> dict[str, Any]:
        height, width = self.image_size
        canvas = np.zeros((height, width), dtype=np.uint8, order="F")
        # grid_sample is zero further than half a mask cell outside the box: one cell of margin is enough
        margin = (box[2:] - box[:2]) / prob.shape[-1] + 1
        x0, y0 = (int(v) for v in (box[:2] - margin).floor().clamp(min=0))
        x1, y1 = (int(v) for v in torch.minimum((box[2:] + margin).ceil(), torch.tensor([width, height])))
        if x1 > x0 and y1 > y0:
            shifted = box - torch.tensor([x0, y0, x0, y0])
            pasted = paste_masks(prob[None], shifted[None], (y1 - y0, x1 - x0))[0] >= self.threshold
            canvas[y0:y1, x0:x1] = pasted.numpy()
        return encode_rle(canvas)


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO RLE of one H x W mask, with ``counts`` as text so that it can go into a json file."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(s) for s in rle["size"]], "counts": rle["counts"].decode("ascii")}


def encode_masks(masks: Tensor | RoiMasks) -> list[dict[str, Any]]:
    """COCO RLEs, as of :func:`encode_rle`, of the masks of :class:`Instances`."""
    return masks.rle() if isinstance(masks, RoiMasks) else [encode_rle(mask.cpu().numpy()) for mask in masks]


def bitmasks_of(masks: Tensor | RoiMasks) -> Tensor:
    """N x H x W bool, of the masks of :class:`Instances`."""
    return masks.bitmasks() if isinstance(masks, RoiMasks) else masks


def segmentation_rle(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """A sound segmentation of a COCO json as compressed RLE.

    Args:
        segmentation: polygons (K x 2 arrays or flat lists, all together the mask, drawn by COCO's rule), or an RLE of
            ``size`` with ``counts`` as text or as a list of runs.
        size: (height, width).
    """
    if not isinstance(segmentation, Mapping):
        flat = [np.asarray(part, dtype=np.float64).ravel().tolist() for part in segmentation]
        merged: dict[str, Any] = coco_mask.merge(coco_mask.frPyObjects(flat, *size))
        return merged
    if isinstance(segmentation["counts"], list):
        return dict(coco_mask.frPyObjects(segmentation, *size))
    return dict(segmentation)
