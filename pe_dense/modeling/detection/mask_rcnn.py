"""The detector: backbone, proposals, region heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pe_dense.modeling.backbone.dense_model import original_sizes
from pe_dense.modeling.detection.detector import Detector
from pe_dense.modeling.detection.postprocess import to_original_size
from pe_dense.modeling.detection.regions import Targets, training_instances
from pe_dense.modeling.detection.roi_heads import RegionHeads
from pe_dense.modeling.detection.rpn import RPN
from pe_dense.modeling.detection.tta import DetectionTTA
from pe_dense.structures import Instances


class MaskRCNN(Detector):
    """Mask R-CNN and, with :class:`CascadeROIHeads`, Cascade Mask R-CNN (detectron2's ``GeneralizedRCNN``).

    Without a mask head the model detects boxes only, and samples need no masks.

    Args:
        backbone: maps B x 3 x H x W normalised images to a dict of pyramid levels, and has a
            ``size_divisibility`` that H and W must be multiples of.
        proposal_generator: finds candidate regions.
        roi_heads: classifies them.
        pixel_mean: per channel (RGB), subtracted from 0..255 pixels.
        pixel_std: per channel, divides the result.
        square_size: if set, batches are padded to at least this many pixels on both sides.
        tta: see :class:`Detector`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        proposal_generator: RPN,
        roi_heads: RegionHeads,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        square_size: int | None = None,
        tta: DetectionTTA | None = None,
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std, square_size, tta)
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads

    @property
    def num_classes(self) -> int:
        """K, background not counted."""
        return self.roi_heads.num_classes

    @property
    def predicts_masks(self) -> bool:
        """Whether there is a mask head."""
        return self.roi_heads.mask_head is not None

    def from_features(
        self, features: dict[str, Tensor], sizes: Sequence[tuple[int, int]], samples: Sequence[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch.

        Args:
            features: the pyramid.
            sizes: valid (height, width) of each image.
            samples: in training mode with ``instances`` (of the image's size).

        Returns:
            in training mode scalar losses: ``loss_rpn_cls``, ``loss_rpn_loc``, ``loss_cls``, ``loss_box_reg`` and,
            with masks, ``loss_mask``; a cascade has ``loss_cls_stage0`` and so on. In eval mode one
            ``{"instances": Instances}`` per sample, in original coordinates.

        Raises:
            ValueError: if a training sample lacks instances, or masks that the model needs.
        """
        targets = self.targets(samples) if self.training else None
        proposals, losses = self.proposal_generator(features, sizes, targets)
        detections, roi_losses = self.roi_heads(features, proposals, sizes, targets)
        if self.training:
            return losses | roi_losses
        original = original_sizes(samples, sizes)
        return [{"instances": to_original_size(d, *size)} for d, size in zip(detections, original)]

    def blank_labels(self, size: tuple[int, int]) -> dict[str, Any]:
        """No objects."""
        return {"instances": replace(Instances.empty(size), masks=torch.zeros(0, *size, dtype=torch.bool))}

    def targets(self, samples: Sequence[dict[str, Any]]) -> Targets:
        """Ground truth of a batch on the model's device."""
        instances = [training_instances(s, self.num_classes).to(self.device, non_blocking=True) for s in samples]
        return Targets.from_instances(instances, with_masks=self.predicts_masks)
