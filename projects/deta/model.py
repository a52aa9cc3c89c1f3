"""DETA: Deformable DETR in two stages whose objects are assigned by overlap (arXiv 2212.06137)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert

from pe_dense.modeling.backbone import FeaturePyramid
from pe_dense.modeling.backbone.dense_model import original_sizes
from pe_dense.modeling.backbone.features import covered_size
from pe_dense.modeling.detection import DetectionTTA, Detector
from pe_dense.modeling.detection.postprocess import to_original_size
from pe_dense.modeling.detection.regions import Targets, clip_boxes, gather_rows, image_bounds, training_instances
from pe_dense.structures import Instances, RoiMasks
from projects.deta.assignment import Objects, make_objects
from projects.deta.criterion import Criterion
from projects.deta.denoising import Denoising, Noise, NoisedQueries
from projects.deta.levels import Levels, inverse_sigmoid
from projects.deta.losses import shares_of_objects
from projects.deta.masks import QueryMasks
from projects.deta.neck import DetaPyramid
from projects.deta.predictions import MaskSource, Predictions
from projects.deta.proposals import MARGIN, make_anchors, select_proposals
from projects.deta.selection import Selection
from projects.deta.transformer import Transformer

_PRIOR = 0.01  # probability of every class before training


class BoxHead(nn.Module):
    """Three linear layers from C channels to changes of a box, as logits; they start at no change."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, 4)])
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """... x C to ... x 4 float32."""
        for layer in list(self.layers)[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x).float()


@dataclass
class Proposing:
    """How many boxes of the first stage become queries.

    Attributes:
        num_queries: Q, per image.
        pre_nms_topk: boxes per level that enter suppression.
        nms_thresh: IoU above which the lower-scored box of a level is dropped.
        anchor_size: side of the anchors of the finest level, as a fraction of the image; twice that on the next.

    Raises:
        ValueError: for numbers that leave no anchor or no query.
    """

    num_queries: int = 900
    pre_nms_topk: int = 1000
    nms_thresh: float = 0.9
    anchor_size: float = 0.05

    def __post_init__(self) -> None:
        if self.num_queries < 1 or self.pre_nms_topk < 1:
            raise ValueError(
                f"num_queries {self.num_queries} and pre_nms_topk {self.pre_nms_topk} must both be at least 1"
            )
        if not MARGIN < self.anchor_size < 1 - MARGIN:
            raise ValueError(
                f"anchor_size {self.anchor_size} must lie between {MARGIN} and {1 - MARGIN}, fractions of the image: "
                "other anchors are left out, and the first stage would have none"
            )


class Deta(Detector):
    """The detector.

    Args:
        backbone: makes maps, finest first.
        transformer: with as many levels as there are maps, or more: strided convolutions make the others.
        num_classes: K, columns of the classifiers.
        criterion: makes the losses.
        proposing: numbers of the first stage.
        selection: chooses the detections.
        class_columns: column of each of the data set's classes; ``None``: class i is column i. The released detectors
            have a column for every id of COCO, used or not.
        pixel_mean, pixel_std, square_size, tta: see :class:`Detector`.
        denoising: of queries made of the ground truth that train beside the others; ``None``: no such queries.
        mask_head: makes masks; ``None``: boxes only.
        look_forward_twice: the loss of a layer's boxes also trains the layer before (DINO, arXiv 2203.03605, section
            3.5); what is predicted is the same.

    Raises:
        ValueError: for fewer levels than maps, more queries than the first stage can propose, or class columns that the
            classifiers do not have.
    """

    def __init__(
        self,
        backbone: DetaPyramid | FeaturePyramid,
        transformer: Transformer,
        num_classes: int,
        criterion: Criterion,
        proposing: Proposing,
        selection: Selection,
        class_columns: Sequence[int] | None = None,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        square_size: int | None = None,
        tta: DetectionTTA | None = None,
        denoising: Noise | None = None,
        look_forward_twice: bool = False,
        mask_head: QueryMasks | None = None,
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std, square_size, tta)
        self.transformer, self.criterion = transformer, criterion
        self.proposing, self.selection = proposing, selection
        most = proposing.pre_nms_topk * transformer.num_levels
        if proposing.num_queries > most:
            raise ValueError(
                f"num_queries {proposing.num_queries}: the first stage proposes at most {most}, pre_nms_topk "
                f"{proposing.pre_nms_topk} on each of {transformer.num_levels} levels; raise pre_nms_topk"
            )
        self.class_columns = None if class_columns is None else [int(c) for c in class_columns]
        self._columns = num_classes
        if any(not 0 <= c < num_classes for c in self.class_columns or ()):
            raise ValueError(f"class_columns must lie in 0..{num_classes - 1}, the columns of the classifiers")
        self.input_proj = _projections(list(backbone.channels.values()), transformer.dim, transformer.num_levels)
        heads = len(transformer.decoder.layers) + 1  # the last is the first stage's
        self.class_embed = nn.ModuleList(nn.Linear(transformer.dim, num_classes) for _ in range(heads))
        self.bbox_embed = nn.ModuleList(BoxHead(transformer.dim) for _ in range(heads))
        self.look_forward_twice, self.mask_head = look_forward_twice, mask_head
        columns = self.class_columns or range(num_classes)
        self.denoising = None if denoising is None else Denoising(denoising, columns, num_classes, transformer.dim)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        for module in self.input_proj.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast(Tensor, module.bias))
        for head in self.class_embed:
            nn.init.constant_(cast(Tensor, head.bias), -math.log(1 / _PRIOR - 1))

    @property
    def num_classes(self) -> int:
        """Classes of the data set."""
        return self._columns if self.class_columns is None else len(self.class_columns)

    @property
    def predicts_masks(self) -> bool:
        """Whether there is a mask head."""
        return self.mask_head is not None

    def from_features(
        self, features: dict[str, Tensor], sizes: Sequence[tuple[int, int]], samples: Sequence[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch.

        Args:
            features: the pyramid.
            sizes: valid (height, width) of each image.
            samples: in training mode with ``instances`` (of the image's size).

        Returns:
            in training mode the losses of :class:`Criterion`; in eval mode one ``{"instances": Instances}`` per
            sample, in original coordinates and clipped to the image.

        Raises:
            ValueError: if a training sample lacks instances, or has a class that the model does not.
        """
        if self.training:
            return self._losses(features, sizes, self.objects(samples, sizes))
        found = self.detections(self.predict(features, sizes)[0], sizes)
        return [{"instances": to_original_size(d, *o)} for d, o in zip(found, original_sizes(samples, sizes))]

    def _losses(
        self, features: dict[str, Tensor], sizes: Sequence[tuple[int, int]], objects: Objects
    ) -> dict[str, Tensor]:
        noised = None if self.denoising is None else self.denoising(objects)
        predicted, first_stage = self.predict(features, sizes, noised)
        own = predicted.boxes.shape[2] - (0 if noised is None else noised.boxes.shape[1])
        queries = predicted.part(0, own)
        losses = self.criterion(queries, first_stage, objects)
        if noised is not None:
            losses |= self.criterion.denoising(predicted.part(own, None), noised, objects)
        if self.mask_head is not None:
            losses |= self.criterion.masks(self.mask_head, queries, objects, image_bounds(sizes, self.device))
        return losses

    def predict(
        self, features: dict[str, Tensor], sizes: Sequence[tuple[int, int]], noised: NoisedQueries | None = None
    ) -> tuple[Predictions, Predictions]:
        """What all decoder layers predict, for noised queries after the others, and the first stage."""
        maps = self._project(list(features.values()))
        levels = Levels.of(maps, sizes, covered_size(self.backbone, features))
        memory = self.transformer.encode(torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1), levels)
        anchors, valid = make_anchors(levels, self.proposing.anchor_size)
        hidden = self.transformer.proposal_features(memory, valid)
        logits = self.class_embed[-1](hidden).float()
        base = torch.log(anchors / (1 - anchors))
        boxes = (self.bbox_embed[-1](hidden) + base).sigmoid()
        index = select_proposals(
            boxes, logits[..., 0], levels,
            self.proposing.num_queries, self.proposing.pre_nms_topk, self.proposing.nms_thresh,
        )  # fmt: skip
        reference = gather_rows(boxes, index).detach()
        queries, content = self._decode(reference, gather_rows(hidden, index).detach(), memory, levels, noised)
        if self.mask_head is not None:
            finest = memory[:, : math.prod(levels.shapes[0])].transpose(1, 2).unflatten(2, levels.shapes[0])
            pixels, padded = self.mask_head.pixels(finest), covered_size(self.backbone, features)
            cells = pixels.shape[-2] / padded[0], pixels.shape[-1] / padded[1]
            queries.masks = MaskSource(content, pixels, cells)
        # anchors as boxes without a change: rounding decides between anchors that overlap an object alike
        return queries, Predictions(logits[None], boxes[None], base.sigmoid())

    def _project(self, maps: list[Tensor]) -> list[Tensor]:
        """All levels with the transformer's channels."""
        projected = [projection(m) for projection, m in zip(self.input_proj, maps)]
        for i, projection in enumerate(list(self.input_proj)[len(maps) :]):
            projected.append(projection(projected[-1] if i else maps[-1]))
        return projected

    def _decode(
        self, boxes: Tensor, features: Tensor, memory: Tensor, levels: Levels, noised: NoisedQueries | None
    ) -> tuple[Predictions, Tensor]:
        """Refine proposals, B x Q x 4, layer by layer; each layer starts from the boxes of the one before. The second
        result is what the last layer holds of the queries, B x Q x C.
        """
        blocked = unused = None
        if noised is not None:
            blocked, unused = noised.blocked(boxes.shape[1]), noised.unused(boxes.shape[1])
            boxes = torch.cat([boxes, noised.boxes], dim=1)
            features = torch.cat([features, noised.features.to(features.dtype)], dim=1)
        position, x = self.transformer.queries(boxes, features)
        padding, ratios = levels.padding(), levels.ratios().repeat(1, 1, 2)[:, None]
        logits, refined, reference, earlier = [], [], boxes, boxes
        for layer, class_head, box_head in zip(self.transformer.decoder.layers, self.class_embed, self.bbox_embed):
            x = layer(x, position, reference[:, :, None] * ratios, memory, levels.shapes, padding, blocked, unused)
            logits.append(class_head(x).float())
            change = box_head(x)
            refined.append((change + inverse_sigmoid(earlier)).sigmoid())
            alone = (change + inverse_sigmoid(reference)).sigmoid()  # of the same value, with this layer's graph only
            reference = refined[-1].detach()
            earlier = alone if self.look_forward_twice else reference
        return Predictions(torch.stack(logits), torch.stack(refined), boxes), x

    @torch.no_grad()
    def detections(self, queries: Predictions, sizes: Sequence[tuple[int, int]]) -> list[Instances]:
        """Detections of the last layer in the pixels of the images the model saw; boxes may reach out of them, except
        with masks.
        """
        bounds = image_bounds(sizes, self.device)
        boxes = box_convert(queries.boxes[-1], "cxcywh", "xyxy") * bounds[:, None]
        if queries.masks is not None:
            boxes = clip_boxes(boxes, bounds)
        probs = queries.logits[-1].sigmoid()
        if self.class_columns is not None:
            probs = probs[..., self.class_columns]
        chosen = self.selection(boxes, probs)
        found = [Instances(size, *of_image[:3]) for size, of_image in zip(sizes, chosen)]
        if self.mask_head is not None and (source := queries.masks) is not None:
            for i, (of_image, (*_, query)) in enumerate(zip(found, chosen)):
                boxes = source.in_cells(of_image.boxes)
                masks = self.mask_head(source.pixels[i : i + 1], source.features[i : i + 1, query], boxes[None])
                of_image.masks = RoiMasks(masks[0].sigmoid(), of_image.boxes, of_image.image_size)
        return found

    def objects(self, samples: Sequence[dict[str, Any]], sizes: Sequence[tuple[int, int]]) -> Objects:
        """Ground truth of a batch on the model's device."""
        found = [training_instances(s, self.num_classes).to(self.device, non_blocking=True) for s in samples]
        targets = Targets.from_instances(found, with_masks=self.predicts_masks)
        bounds = image_bounds(sizes, self.device)
        objects = make_objects(targets.boxes, targets.classes, targets.valid, bounds, self.class_columns)
        return replace(objects, masks=targets.masks)

    def loss_shares(self, pieces: Sequence[Sequence[dict[str, Any]]]) -> list[Tensor]:
        """Factors that make the losses of several pieces of a batch, trained on one after another, those of the batch.

        Losses are divided by the number of objects, of which one piece has more than another.
        """
        found = [self.objects(piece, [tuple(s["image"].shape[-2:]) for s in piece]) for piece in pieces]
        return shares_of_objects(found)

    def blank_labels(self, size: tuple[int, int]) -> dict[str, Any]:
        """No objects."""
        return {"instances": replace(Instances.empty(size), masks=torch.zeros(0, *size, dtype=torch.bool))}


def _projections(channels: list[int], dim: int, num_levels: int) -> nn.ModuleList:
    """Convolution and norm of each level: 1 x 1 for the maps there are, 3 x 3 with stride 2 for the others."""
    if num_levels < len(channels):
        raise ValueError(f"num_levels {num_levels}: the backbone makes {len(channels)} maps, which all take part")
    convolutions = [nn.Conv2d(c, dim, kernel_size=1) for c in channels]
    for i in range(num_levels - len(channels)):
        convolutions.append(nn.Conv2d(dim if i else channels[-1], dim, kernel_size=3, stride=2, padding=1))
    groups = min(math.gcd(32, dim), dim // 2)  # two channels in each: one, of a map of one cell, would be one value
    return nn.ModuleList(nn.Sequential(c, nn.GroupNorm(groups, dim)) for c in convolutions)
