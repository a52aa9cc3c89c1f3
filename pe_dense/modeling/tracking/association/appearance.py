"""What objects look like, from the pass of the encoder that detects them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.structures import Instances, RoiMasks, paste_masks

Pooling = Literal["box", "mask"]
AppearanceSource = Literal["auto", "head", "box", "mask", "none"]

_GRID = 7  # of RoIAlign, whose cells are then averaged


class AppearanceDetector(nn.Module):
    """A detector that also tells what each object looks like, for :class:`BoTSORT`.

    The encoder runs once: the layer is kept from the detector's own pass. An embedding is the mean of the layer's
    features over the object, less their mean over the image (which all objects of an image share, so that it would make
    all of them alike), scaled to length 1.

    Args:
        detector: a model whose predictions have ``instances``, such as :class:`MaskRCNN` or a multi-task model.
        layer: 0-based block of its encoder; negative ones count from the last.
        pooling: "box": RoIAlign over the box; "mask": weighted by the predicted mask, which must then exist; an object
            with an empty mask gets the mean over its box.

    Raises:
        ValueError: if the model has no encoder, several, or not that layer.
    """

    def __init__(self, detector: nn.Module, layer: int = -1, pooling: Pooling = "box") -> None:
        super().__init__()
        if pooling not in ("box", "mask"):
            raise ValueError(f'pooling must be "box" or "mask", it is {pooling!r}')
        encoders = [module for module in detector.modules() if isinstance(module, PerceptionEncoder)]
        if len(encoders) != 1:
            raise ValueError(f"the detector has {len(encoders)} encoders; appearance is taken from exactly one")
        if not -encoders[0].depth <= layer < encoders[0].depth:
            raise ValueError(f"layer {layer}: the encoder has blocks 0..{encoders[0].depth - 1} (-1 is the last)")
        self.detector = detector
        self.layer, self.pooling = layer, pooling
        self._encoder = encoders

    @property
    def num_classes(self) -> int | None:
        """Of the detector."""
        classes: int | None = getattr(self.detector, "num_classes", None)
        return classes

    def forward(self, samples: Sequence[dict[str, Any]]) -> Any:
        """The detector's predictions, each with ``embeddings``: N x C float32, a row per instance.

        In training mode it is the detector, and nothing else.

        Raises:
            ValueError: if it predicts no instances, or no masks that are to be pooled over.
        """
        if self.training:
            return self.detector(samples)
        encoder = self._encoder[0]
        with encoder.keeping(self.layer) as last:
            outputs = self.detector(samples)
            maps = last()
        for output, sample, grid in zip(outputs, samples, maps):
            if "instances" not in output:
                raise ValueError(f"the model predicts {', '.join(output)} and no objects, which appearance is of")
            output["embeddings"] = pool_appearance(
                grid, output["instances"], sample["image"].shape[-2:], encoder.patch_size, self.pooling
            )
        return outputs


def with_appearance(model: nn.Module, source: AppearanceSource = "auto", layer: int = -1) -> nn.Module:
    """A detector that tells what objects look like by what is asked for.

    Args:
        model: a detector, with or without an identity head (:class:`~pe_dense.modeling.detection.TrackingRCNN`).
        source: "head": the identity head; "box" or "mask": see :class:`AppearanceDetector`; "auto": the head if there
            is one, else "box"; "none": the model as it is.
        layer: for "box" and "mask".

    Raises:
        ValueError: if the model has no identity head and is asked for it, or see :class:`AppearanceDetector`.
    """
    has_head = any(getattr(module, "identity_head", None) is not None for module in model.modules())
    if source == "head" and not has_head:
        raise ValueError(
            "the model has no identity head to tell what objects look like; train one (docs/track_identity.md), or "
            "take box or mask"
        )
    if source == "none" or (has_head and source in ("auto", "head")):
        return model
    return AppearanceDetector(model, layer, "mask" if source == "mask" else "box")


def pool_appearance(
    grid: Tensor, instances: Instances, input_size: Sequence[int], stride: int, pooling: Pooling = "box"
) -> Tensor:
    """Embeddings of the objects of one image.

    Args:
        grid: C x h x w, a layer's map; what lies beyond the image is padding.
        instances: N objects, in the original image's pixels.
        input_size: (height, width) of the image that the encoder saw, without padding.
        stride: its pixels per cell of the map.
        pooling: see :class:`AppearanceDetector`.

    Returns:
        N x C float32 of length 1.

    Raises:
        ValueError: if masks are missing.
    """
    height, width = instances.image_size
    scale = grid.new_tensor([input_size[1] / width, input_size[0] / height]).float() / stride
    rows, columns = (-(-int(side) // stride) for side in input_size)
    grid = grid[:, :rows, :columns].float()
    grid = grid - grid.mean(dim=(1, 2), keepdim=True)
    boxes = instances.boxes.to(grid) * scale.repeat(2)
    pooled = roi_align(grid[None], [boxes], _GRID, aligned=True).mean(dim=(2, 3))
    if pooling == "mask":
        weights = _mask_weights(instances, boxes, scale, (rows, columns)).to(grid)
        total = weights.sum(dim=(1, 2))
        means = torch.einsum("nhw,chw->nc", weights, grid) / total.clamp(min=1e-6)[:, None]
        pooled = torch.where(total[:, None] > 1e-3, means, pooled)
    return F.normalize(pooled, dim=1)


def _mask_weights(instances: Instances, boxes: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    """N x h x w: how much of each cell belongs to each object."""
    masks = instances.masks
    if masks is None:
        raise ValueError('the detector predicts no masks; take pooling="box"')
    if isinstance(masks, RoiMasks):
        return paste_masks(masks.probs, masks.boxes * scale.repeat(2).to(masks.boxes), size)
    # cell i covers the original pixels from i / scale to (i + 1) / scale
    theta = torch.zeros(len(masks), 2, 3, device=masks.device)
    for axis, (cells, pixels) in enumerate(zip(size[::-1], masks.shape[:0:-1])):
        covered = cells / float(scale[axis]) / pixels
        theta[:, axis, axis], theta[:, axis, 2] = covered, covered - 1
    where = F.affine_grid(theta, [len(masks), 1, *(4 * side for side in size)], align_corners=False)
    sampled = F.grid_sample(masks[:, None].float(), where, align_corners=False)
    return F.avg_pool2d(sampled, 4)[:, 0]
