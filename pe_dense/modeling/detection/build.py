"""The detectors of the released recipes as plain functions that fill in the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import cast

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.layers.soft_nms import Decay
from pe_dense.modeling.backbone.pyramid import FeaturePyramid
from pe_dense.modeling.detection.anchors import AnchorGenerator
from pe_dense.modeling.detection.box_head import BoxHead, BoxPredictor
from pe_dense.modeling.detection.cascade import CascadeROIHeads
from pe_dense.modeling.detection.class_loss import ClassLoss
from pe_dense.modeling.detection.identity import IdentityHead, IdentityLoss
from pe_dense.modeling.detection.mask_head import MaskHead
from pe_dense.modeling.detection.mask_rcnn import MaskRCNN
from pe_dense.modeling.detection.matcher import Matcher
from pe_dense.modeling.detection.pooler import ROIPooler
from pe_dense.modeling.detection.released import load_released
from pe_dense.modeling.detection.roi_heads import ROIHeads
from pe_dense.modeling.detection.rpn import RPN, RPNHead
from pe_dense.modeling.detection.tracking_rcnn import TrackingRCNN
from pe_dense.modeling.detection.tta import DetectionTTA


def build_mask_rcnn(
    backbone: FeaturePyramid,
    num_classes: int,
    with_masks: bool = True,
    square_size: int | None = 1024,
    pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
    pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
    conv_dim: int = 256,
    fc_dim: int = 1024,
    anchor_sizes: Sequence[float | Sequence[float]] | None = None,
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    rpn_batch_size_per_image: int = 256,
    pre_nms_topk: tuple[int, int] = (2000, 1000),
    post_nms_topk: tuple[int, int] = (1000, 1000),
    roi_batch_size_per_image: int = 512,
    test_score_thresh: float = 0.05,
    test_nms_thresh: float = 0.5,
    test_topk_per_image: int = 100,
    test_decay: Decay | None = None,
    tta: DetectionTTA | None = None,
    weights: str | None = None,
    class_loss: ClassLoss | None = None,
) -> MaskRCNN:
    """Mask R-CNN with ViTDet's heads (arXiv 2203.16527, appendix A.2); the defaults are the released COCO
    recipe, except for the encoder's own normalisation (the release takes 127 for both mean and deviation).

    Args:
        backbone: the pyramid; its levels and strides set up the rest.
        num_classes: K, background not counted.
        with_masks: ``False`` detects boxes only.
        square_size: batches are padded to at least this side; ``None`` pads to the largest image.
        pixel_mean: per channel (RGB), subtracted from 0..255 pixels.
        pixel_std: per channel, divides the result.
        conv_dim: channels of the convolutions in the box and mask heads.
        fc_dim: width of the fully connected layer in the box head.
        anchor_sizes: per pyramid level one size in pixels, or several (``[[8, 16], [32, 64], [96, 192]]``; the same
            number for each level); ``None`` takes 8 strides, the recipe's choice.
        aspect_ratios: height / width of the anchors.
        rpn_batch_size_per_image: anchors per image in the proposal losses.
        pre_nms_topk: anchors per level that enter NMS, (training, test).
        post_nms_topk: proposals per image, (training, test).
        roi_batch_size_per_image: proposals per image in the second stage's losses.
        test_score_thresh: detections need a higher score.
        test_nms_thresh: IoU above which the lower-scoring box of a class is dropped.
        test_topk_per_image: detections kept per image.
        test_decay: if set, such a box is not dropped, its score falls (soft-NMS): "linear", "gaussian" or "quad", see
            :func:`pe_dense.layers.soft_nms.soft_nms`.
        tta: several sizes, and mirrored images, at test time, see :class:`DetectionTTA`.
        weights: file of a whole released detector, see :func:`load_released`. It holds the encoder too: set the
            encoder's own ``weights`` to ``None``, or they are fetched first and then replaced.
        class_loss: how the classes are learnt: :class:`FederatedLoss` for LVIS; ``None``: one class per region.

    Raises:
        FileNotFoundError: if there is no such weights file.
        WeightsError: if the weights do not fit.
    """
    levels, strides = _roi_levels(backbone)
    channels = backbone.out_channels
    roi_heads = ROIHeads(
        box_pooler=ROIPooler(7, strides),
        box_head=BoxHead(channels, 7, [conv_dim] * 4, [fc_dim]),
        box_predictor=BoxPredictor(fc_dim, num_classes, BoxCoder((10.0, 10.0, 5.0, 5.0)), class_loss=class_loss),
        proposal_matcher=Matcher([0.5], [0, 1]),
        mask_pooler=ROIPooler(14, strides) if with_masks else None,
        mask_head=MaskHead(channels, num_classes, [conv_dim] * 4) if with_masks else None,
        in_features=levels,
        batch_size_per_image=roi_batch_size_per_image,
        test_score_thresh=test_score_thresh,
        test_nms_thresh=test_nms_thresh,
        test_topk_per_image=test_topk_per_image,
        test_decay=test_decay,
    )
    rpn = _rpn(backbone, anchor_sizes, aspect_ratios, rpn_batch_size_per_image, pre_nms_topk, post_nms_topk)
    return _loaded(MaskRCNN(backbone, rpn, roi_heads, pixel_mean, pixel_std, square_size, tta), weights)


def build_cascade_mask_rcnn(
    backbone: FeaturePyramid,
    num_classes: int,
    with_masks: bool = True,
    square_size: int | None = 1024,
    pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
    pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
    conv_dim: int = 256,
    fc_dim: int = 1024,
    anchor_sizes: Sequence[float | Sequence[float]] | None = None,
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    rpn_batch_size_per_image: int = 256,
    pre_nms_topk: tuple[int, int] = (2000, 1000),
    post_nms_topk: tuple[int, int] = (1000, 1000),
    roi_batch_size_per_image: int = 512,
    test_score_thresh: float = 0.05,
    test_nms_thresh: float = 0.5,
    test_topk_per_image: int = 100,
    test_decay: Decay | None = None,
    tta: DetectionTTA | None = None,
    stage_ious: Sequence[float] = (0.5, 0.6, 0.7),
    stage_weights: Sequence[Sequence[float]] = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15)),
    weights: str | None = None,
    class_loss: ClassLoss | None = None,
) -> MaskRCNN:
    """Cascade Mask R-CNN with ViTDet's heads.

    Args:
        stage_ious: overlap from which a region counts as an object, per stage.
        stage_weights: weights of the box offsets, per stage.
        backbone, num_classes, with_masks, square_size, pixel_mean, pixel_std, conv_dim, fc_dim, anchor_sizes,
            aspect_ratios, rpn_batch_size_per_image, pre_nms_topk, post_nms_topk, roi_batch_size_per_image,
            test_score_thresh, test_nms_thresh, test_topk_per_image, test_decay, tta, weights, class_loss: see
            :func:`build_mask_rcnn`.
    """
    levels, strides = _roi_levels(backbone)
    channels = backbone.out_channels
    roi_heads = CascadeROIHeads(
        box_pooler=ROIPooler(7, strides),
        box_heads=[BoxHead(channels, 7, [conv_dim] * 4, [fc_dim]) for _ in stage_ious],
        box_predictors=[
            BoxPredictor(fc_dim, num_classes, BoxCoder(w), class_agnostic=True, class_loss=deepcopy(class_loss))
            for w in stage_weights
        ],
        proposal_matchers=[Matcher([iou], [0, 1]) for iou in stage_ious],
        mask_pooler=ROIPooler(14, strides) if with_masks else None,
        mask_head=MaskHead(channels, num_classes, [conv_dim] * 4) if with_masks else None,
        in_features=levels,
        batch_size_per_image=roi_batch_size_per_image,
        test_score_thresh=test_score_thresh,
        test_nms_thresh=test_nms_thresh,
        test_topk_per_image=test_topk_per_image,
        test_decay=test_decay,
    )
    rpn = _rpn(backbone, anchor_sizes, aspect_ratios, rpn_batch_size_per_image, pre_nms_topk, post_nms_topk)
    return _loaded(MaskRCNN(backbone, rpn, roi_heads, pixel_mean, pixel_std, square_size, tta), weights)


def build_tracking_rcnn(
    detector: MaskRCNN,
    freeze_detector: bool = True,
    embed_dim: int = 256,
    num_convs: int = 4,
    conv_dim: int = 256,
    fc_dim: int = 1024,
    regions_per_image: int = 128,
    temperature: float = 0.1,
    identity_weight: float = 0.25,
    similarity_weight: float = 1.0,
) -> TrackingRCNN:
    """A detector with an identity head like QDTrack's (arXiv 2006.06664): 4 convolutions, embeddings of 256 numbers.

    Args:
        detector: such as :func:`build_mask_rcnn` makes; its weights come with ``train.init_from``.
        freeze_detector: train the identity head alone; see :class:`TrackingRCNN`.
        embed_dim: numbers of an embedding.
        num_convs: convolutions of the head.
        conv_dim: their channels.
        fc_dim: width of its fully connected layer.
        regions_per_image: proposals and true boxes per image that the loss is computed on.
        temperature, identity_weight, similarity_weight: see :class:`IdentityLoss`.

    Raises:
        ValueError: if the temperature is not positive.
    """
    pyramid = cast(FeaturePyramid, detector.backbone)
    strides = [pyramid.strides[name] for name in detector.roi_heads.in_features]
    head = IdentityHead(
        ROIPooler(7, strides), BoxHead(pyramid.out_channels, 7, [conv_dim] * num_convs, [fc_dim]), embed_dim
    )
    loss = IdentityLoss(temperature, identity_weight, similarity_weight)
    return TrackingRCNN(detector, head, loss, freeze_detector, regions_per_image=regions_per_image)


def _rpn(
    backbone: FeaturePyramid,
    anchor_sizes: Sequence[float | Sequence[float]] | None,
    aspect_ratios: Sequence[float],
    batch_size_per_image: int,
    pre_nms_topk: tuple[int, int],
    post_nms_topk: tuple[int, int],
) -> RPN:
    strides = list(backbone.strides.values())
    given = [8.0 * s for s in strides] if anchor_sizes is None else anchor_sizes
    sizes = [tuple(size) if isinstance(size, Sequence) else (size,) for size in given]
    anchors = AnchorGenerator(sizes, aspect_ratios, strides)
    return RPN(
        head=RPNHead(backbone.out_channels, anchors.num_anchors),
        anchor_generator=anchors,
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box_coder=BoxCoder(),
        in_features=list(backbone.strides),
        batch_size_per_image=batch_size_per_image,
        pre_nms_topk=pre_nms_topk,
        post_nms_topk=post_nms_topk,
    )


def _loaded(model: MaskRCNN, weights: str | None) -> MaskRCNN:
    if weights is not None:
        load_released(model, weights)
    return model


def _roi_levels(backbone: FeaturePyramid) -> tuple[list[str], list[int]]:
    """Levels that regions are pooled from: all but p6, which exists for large anchors only."""
    levels = {name: stride for name, stride in backbone.strides.items() if name != "p6"}
    return list(levels), list(levels.values())
