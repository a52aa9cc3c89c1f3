"""The detector: backbone, proposals, region heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pe_dense.modeling.detection.postprocess import to_original_size
from pe_dense.modeling.detection.regions import Targets
from pe_dense.modeling.detection.roi_heads import RegionHeads
from pe_dense.modeling.detection.rpn import RPN
from pe_dense.structures import ImageBatch, Instances


class MaskRCNN(nn.Module):
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
    """

    def __init__(
        self,
        backbone: nn.Module,
        proposal_generator: RPN,
        roi_heads: RegionHeads,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        square_size: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.square_size = square_size
        # numbers rather than buffers, so that a model built on the meta device keeps them
        self.pixel_mean = tuple(float(v) for v in pixel_mean)
        self.pixel_std = tuple(float(v) for v in pixel_std)

    @property
    def num_classes(self) -> int:
        """K, background not counted."""
        return self.roi_heads.num_classes

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.parameters()).device

    def forward(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch.

        Args:
            samples: dicts with ``image`` (3 x H x W uint8, RGB), in training mode ``instances`` (of the image's
                size), in eval mode ``height`` and ``width`` of the original image (default: the image's own).

        Returns:
            in training mode scalar losses: ``loss_rpn_cls``, ``loss_rpn_loc``, ``loss_cls``, ``loss_box_reg`` and,
            with masks, ``loss_mask``; a cascade has ``loss_cls_stage0`` and so on. In eval mode one
            ``{"instances": Instances}`` per sample, in original coordinates.

        Raises:
            ValueError: if a training sample lacks instances, or masks that the model needs.
        """
        images = self.preprocess(samples)
        features = self.backbone(images.tensor)
        targets = self.targets(samples) if self.training else None
        proposals, losses = self.proposal_generator(features, images.sizes, targets)
        detections, roi_losses = self.roi_heads(features, proposals, images.sizes, targets)
        if self.training:
            return losses | roi_losses
        sizes = [(int(s.get("height", h)), int(s.get("width", w))) for s, (h, w) in zip(samples, images.sizes)]
        return [{"instances": to_original_size(d, *size)} for d, size in zip(detections, sizes)]

    def preprocess(self, samples: Sequence[dict[str, Any]]) -> ImageBatch:
        """Move the images to the model's device, normalise them and pad them with zeros."""
        device = self.device
        mean, std = (
            torch.tensor(v).view(-1, 1, 1).to(device, non_blocking=True) for v in (self.pixel_mean, self.pixel_std)
        )
        images = [(s["image"].to(device, non_blocking=True).float() - mean) / std for s in samples]
        divisor = int(getattr(self.backbone, "size_divisibility", 1))
        return ImageBatch.from_images(images, divisor=divisor, square=self.square_size)

    def targets(self, samples: Sequence[dict[str, Any]]) -> Targets:
        """Ground truth of a batch on the model's device."""
        instances = [self._checked(s).to(self.device, non_blocking=True) for s in samples]
        return Targets.from_instances(instances, with_masks=self.roi_heads.mask_head is not None)

    def _checked(self, sample: dict[str, Any]) -> Instances:
        """A training sample's instances."""
        found: Instances | None = sample.get("instances")
        if found is None:
            raise ValueError(f"{_name(sample)}: training needs 'instances', which may be empty; or call model.eval()")
        if len(found) and found.classes is not None and found.classes.device.type == "cpu":  # a GPU would have to wait
            highest = int(found.classes.max())
            if highest >= self.num_classes:
                raise ValueError(
                    f"{_name(sample)}: an object has class index {highest} but the model has num_classes="
                    f"{self.num_classes}; set the model's num_classes to the data set's number of categories"
                )
        return found


def _name(sample: dict[str, Any]) -> str:
    """What to call a sample in an error."""
    return str(sample.get("file_name", sample.get("image_id", "a sample")))
