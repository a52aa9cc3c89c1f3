"""DETA as a plain function that fills in the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from pe_dense.modeling.backbone import FeaturePyramid
from pe_dense.modeling.detection import DetectionTTA
from projects.deta.assignment import Assigner
from projects.deta.classification import ClassLoss
from projects.deta.criterion import Criterion
from projects.deta.denoising import Noise
from projects.deta.masks import QueryMasks
from projects.deta.model import Deta, Proposing
from projects.deta.neck import DetaPyramid
from projects.deta.released import load_released_deta
from projects.deta.selection import Selection
from projects.deta.transformer import Transformer


def build_deta(
    backbone: DetaPyramid | FeaturePyramid,
    num_classes: int,
    num_queries: int = 900,
    hidden_dim: int = 256,
    num_heads: int = 8,
    num_encoder_layers: int = 6,
    num_decoder_layers: int = 6,
    feedforward_dim: int = 2048,
    num_levels: int = 5,
    num_points: int = 4,
    pre_nms_topk: int = 1000,
    proposal_nms_thresh: float = 0.9,
    anchor_size: float = 0.05,
    assigner: Assigner | None = None,
    first_stage_assigner: Assigner | None = None,
    class_weight: float = 1.0,
    box_weight: float = 5.0,
    giou_weight: float = 2.0,
    classification: ClassLoss | None = None,
    denoising: Noise | None = None,
    look_forward_twice: bool = False,
    with_masks: bool = False,
    mask_weight: float = 2.0,
    selection: Selection | None = None,
    class_columns: Sequence[int] | None = None,
    pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
    pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
    square_size: int | None = None,
    tta: DetectionTTA | None = None,
    checkpoint_layers: bool = False,
    weights: str | None = None,
    trust_args: bool = False,
) -> Deta:
    """DETA; the defaults are the released recipe's, except for the encoder's own normalisation (the release takes
    ImageNet's: mean 123.675, 116.28, 103.53 and deviation 58.395, 57.12, 57.375).

    Args:
        backbone: makes the first maps; DETA's own makes three.
        num_classes: columns of the classifiers; without ``class_columns`` the data set's number of classes.
        num_queries: boxes of the first stage that are refined.
        hidden_dim: channels of the transformer, divisible by 4 and ``num_heads``.
        num_heads: attention heads.
        num_encoder_layers, num_decoder_layers: layers of the transformer.
        feedforward_dim: hidden channels of its MLPs.
        num_levels: maps: the backbone's and, by strided convolutions, further ones.
        num_points: positions that a head looks at in each map.
        pre_nms_topk: boxes per level that enter the first stage's suppression.
        proposal_nms_thresh: IoU above which the lower-scored of them is dropped.
        anchor_size: side of the anchors of the finest level, as a fraction of the image; twice that on the next.
        assigner: of queries to objects; ``None`` takes DETA's overlaps.
        first_stage_assigner: of anchors to objects; ``None`` takes DETA's overlaps.
        class_weight, box_weight, giou_weight: of the losses.
        classification: loss of the classes; ``None`` takes DETA's, the focal.
        denoising, look_forward_twice: see :class:`Deta`.
        with_masks: predict instance masks too, which training samples must have.
        mask_weight: of their losses.
        selection: of the detections; ``None`` takes hard suppression above an IoU of 0.7 and the best 100.
        class_columns: see :class:`Deta`.
        pixel_mean: per channel (RGB), subtracted from 0..255 pixels.
        pixel_std: per channel, divides the result.
        square_size: batches are padded to at least this side; ``None`` pads to the largest image.
        tta: several sizes, and mirrored images, at test time; :func:`released_tta` is the release's.
        checkpoint_layers: recompute the activations of the transformer's encoder in the backward pass.
        weights: file of a whole released detector, see :func:`load_released_deta`. It holds the encoder too: set the
            encoder's own ``weights`` to ``None``.
        trust_args: see :func:`load_released_deta`.

    Raises:
        FileNotFoundError: if there is no such weights file.
        ValueError: for sizes that do not fit together.
        WeightsError: if the weights do not fit.
    """
    transformer = Transformer(
        hidden_dim, num_heads, num_encoder_layers, num_decoder_layers, feedforward_dim, num_levels, num_points,
        checkpoint_layers,
    )  # fmt: skip
    criterion = Criterion(
        assigner, first_stage_assigner, num_queries, class_weight, box_weight, giou_weight, classification, mask_weight
    )
    proposing = Proposing(num_queries, pre_nms_topk, proposal_nms_thresh, anchor_size)
    model = Deta(
        backbone, transformer, num_classes, criterion, proposing, selection or Selection(), class_columns,
        pixel_mean, pixel_std, square_size, tta, denoising, look_forward_twice,
        QueryMasks(hidden_dim) if with_masks else None,
    )  # fmt: skip
    if weights is not None:
        load_released_deta(model, weights, trust_args)
    return model
