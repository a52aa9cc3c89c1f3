"""A detector that also learns to tell the objects that it finds apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pe_dense.modeling.backbone.dense_model import sample_name
from pe_dense.modeling.detection.identity import BACKGROUND, UNUSED, IdentityHead, IdentityLoss
from pe_dense.modeling.detection.mask_rcnn import MaskRCNN
from pe_dense.modeling.detection.matcher import Matcher
from pe_dense.modeling.detection.regions import (
    Proposals,
    Targets,
    gather_rows,
    image_bounds,
    nonempty,
    training_instances,
)
from pe_dense.modeling.detection.roi_heads import slot_images
from pe_dense.modeling.detection.sampling import subsample_labels
from pe_dense.structures import Instances

Self = TypeVar("Self", bound="TrackingRCNN")


class TrackingRCNN(MaskRCNN):
    """A detector and an :class:`IdentityHead` on the same pyramid; what :class:`BoTSORT` compares comes with the boxes.

    All names of parameters of the detector stay as they are, so that ``train.init_from`` takes a detector that was
    trained before, with ``train.init_skip=[identity_head.]`` for what it does not have.

    Args:
        detector: taken apart; its modules become this model's.
        identity_head: embeds regions.
        identity_loss: of the embeddings.
        freeze_detector: train the identity head alone: detections stay what they are, and samples need boxes and track
            ids only. Otherwise everything trains, with the detector's losses too.
        region_matcher: which proposals lie on an object, which on background, and which are left out.
        regions_per_image: proposals and true boxes per image that the loss is computed on.
        positive_fraction: largest share of them that lies on objects.

    Raises:
        ValueError: if the detector has test-time augmentation.
    """

    def __init__(
        self,
        detector: MaskRCNN,
        identity_head: IdentityHead,
        identity_loss: IdentityLoss,
        freeze_detector: bool = True,
        region_matcher: Matcher | None = None,
        regions_per_image: int = 128,
        positive_fraction: float = 0.5,
    ) -> None:
        if detector.tta is not None:
            raise ValueError("embeddings of several views cannot be merged: build the detector without tta")
        super().__init__(
            detector.backbone, detector.proposal_generator, detector.roi_heads, detector.pixel_mean, detector.pixel_std,
            detector.square_size,
        )  # fmt: skip
        self.identity_head, self.identity_loss = identity_head, identity_loss
        self.freeze_detector = freeze_detector
        self.region_matcher = Matcher([0.3, 0.7], [0, -1, 1]) if region_matcher is None else region_matcher
        self.regions_per_image, self.positive_fraction = regions_per_image, positive_fraction
        if freeze_detector:
            for part in self._detector_parts():
                part.requires_grad_(False).eval()

    def train(self: Self, mode: bool = True) -> Self:
        """A frozen detector stays in evaluation mode."""
        super().train(mode)
        if self.freeze_detector:
            for part in self._detector_parts():
                part.eval()
        return self

    def from_features(
        self, features: dict[str, Tensor], sizes: Sequence[tuple[int, int]], samples: Sequence[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch.

        Args:
            features: the pyramid.
            sizes: valid (height, width) of each image.
            samples: in training mode pairs of frames one after the other, with ``instances`` that have ``track_ids``.

        Returns:
            in training mode ``loss_identity`` and ``loss_similarity``, and those of :class:`MaskRCNN` unless the
            detector is frozen. In eval mode one dict per sample: ``instances`` in original coordinates, and
            ``embeddings``, N x E float32 of length 1.

        Raises:
            ValueError: if a training sample lacks instances or track ids, or frames do not come in pairs.
        """
        if not self.training:
            outputs = super().from_features(features, sizes, samples)
            assert isinstance(outputs, list)
            return self._with_embeddings(features, sizes, outputs)
        if len(samples) % 2:
            raise ValueError(
                f"{len(samples)} frames in one pass, but they come in pairs: make dataloader.train.batch_size an even "
                f"multiple of the number of processes times train.accumulate, and load it with build_pair_loader"
            )
        targets = self.targets(samples)
        if self.freeze_detector:
            proposals, losses = self.proposal_generator(features, sizes)
        else:
            proposals, losses = self.proposal_generator(features, sizes, targets)
            losses = losses | self.roi_heads(features, proposals, sizes, targets)[1]
        boxes, identities = self._regions(proposals, targets)
        index = slot_images(boxes)
        embeddings = self.identity_head(self._levels(features), boxes.flatten(0, 1), index)
        return losses | self.identity_loss(embeddings, identities.flatten(), index)

    def targets(self, samples: Sequence[dict[str, Any]]) -> Targets:
        """Ground truth of a batch on the model's device; masks only for a detector that trains."""
        instances = [self._checked(s).to(self.device, non_blocking=True) for s in samples]
        with_masks = self.predicts_masks and not self.freeze_detector
        return Targets.from_instances(instances, with_masks, with_identities=True)

    def _checked(self, sample: dict[str, Any]) -> Instances:
        frozen = self.freeze_detector  # its classes need not be those of the videos
        found = sample.get("instances") if frozen else training_instances(sample, self.num_classes)
        if found is None or found.track_ids is None:
            raise ValueError(
                f"{sample_name(sample)}: training an identity head needs 'instances' with track_ids; load frames of "
                f"videos, such as MotFrames, with build_pair_loader"
            )
        classes = found.classes
        if not self.freeze_detector and classes is not None and classes.device.type == "cpu" and (classes < 0).any():
            raise ValueError(
                f"{sample_name(sample)}: the detector trains, but its objects have no class; set the data set's "
                f"`classes`, or freeze_detector=True"
            )
        return found

    @torch.no_grad()
    def _regions(self, proposals: Proposals, targets: Targets) -> tuple[Tensor, Tensor]:
        """B x S x 4 boxes to learn from, true ones among them, and the B x S identities on them."""
        assert targets.identities is not None
        boxes = torch.cat([proposals.boxes, targets.boxes], dim=1)
        valid = torch.cat([proposals.valid, targets.valid & nonempty(targets.boxes)], dim=1)
        objects, labels = self.region_matcher.match_boxes(targets.boxes, targets.valid, boxes)
        identities = gather_rows(targets.identities, objects).masked_fill(labels == 0, BACKGROUND)
        index, chosen = subsample_labels(labels.masked_fill(~valid, -1), self.regions_per_image, self.positive_fraction)
        identities = gather_rows(identities, index).masked_fill(~chosen, UNUSED)
        return gather_rows(boxes, index) * chosen[..., None], identities

    def _with_embeddings(
        self, features: dict[str, Tensor], sizes: Sequence[tuple[int, int]], outputs: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        found = [output["instances"] for output in outputs]
        original = image_bounds([f.image_size for f in found], self.device)
        scale = image_bounds(sizes, self.device) / original
        boxes = torch.cat([f.boxes * s for f, s in zip(found, scale)])
        counts = [len(f) for f in found]
        index = torch.arange(len(counts), device=boxes.device).repeat_interleave(torch.tensor(counts).to(boxes.device))
        embeddings = self.identity_head(self._levels(features), boxes, index).split(counts)
        return [{**output, "embeddings": rows} for output, rows in zip(outputs, embeddings)]

    def _levels(self, features: dict[str, Tensor]) -> list[Tensor]:
        return [features[name] for name in self.roi_heads.in_features]

    def _detector_parts(self) -> list[nn.Module]:
        return [self.backbone, self.proposal_generator, self.roi_heads]
