"""Small models of both libraries with the same sizes, and data for them; needs detectron2."""

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)

from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection import build_mask_rcnn
from pe_dense.structures import Instances

CLASSES, SIDE, CHANNELS = 3, 128, 16
MEAN, STD = [120.0, 127.5, 130.0], [60.0, 62.0, 64.0]
LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}


def encoder(**options):
    return PerceptionEncoder(32, 2, 2, 64, grid_size=4, layer_scale=0.1, **options)


def pyramid(**options):
    return FeaturePyramid(encoder(), CHANNELS, **options)


def our_rcnn(**options):
    """With no random choice in training: all anchors and proposals are learnt from."""
    torch.manual_seed(0)
    model = build_mask_rcnn(
        pyramid(), CLASSES, square_size=SIDE, pixel_mean=MEAN, pixel_std=STD, conv_dim=CHANNELS, fc_dim=32,
        rpn_batch_size_per_image=8192, pre_nms_topk=(200, 100), post_nms_topk=(60, 40),
        roi_batch_size_per_image=1_000_000, test_topk_per_image=20, **options,
    )  # fmt: skip
    heads = [*model.proposal_generator.named_parameters(), *model.roi_heads.named_parameters()]
    with torch.no_grad():  # as they start, heads say nearly the same of everything
        for name, parameter in heads:
            if parameter.dim() > 1:  # with offsets kept moderate: their exponential would enlarge rounding
                gain = 0.1 if "deltas" in name or "bbox_pred" in name else 2
                parameter.normal_(std=(gain / parameter[0].numel()) ** 0.5)
    return model


def their_rcnn(backbone, **predictor):
    """The real thing, with ViTDet's heads and the sizes of :func:`our_rcnn`."""
    conv = {"conv_dims": [CHANNELS] * 4, "conv_norm": "LN"}
    levels = [name for name in LEVELS if name != "p6"]
    scales = [1 / LEVELS[name] for name in levels]
    rpn = RPN(
        in_features=list(LEVELS), head=StandardRPNHead(in_channels=CHANNELS, num_anchors=3, conv_dims=[-1, -1]),
        anchor_generator=DefaultAnchorGenerator(
            sizes=[[8 * s] for s in LEVELS.values()], aspect_ratios=[0.5, 1.0, 2.0], strides=list(LEVELS.values()),
            offset=0.0,
        ),
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)), batch_size_per_image=8192,
        positive_fraction=0.5, pre_nms_topk=(200, 100), post_nms_topk=(60, 40), nms_thresh=0.7,
    )  # fmt: skip
    roi_heads = StandardROIHeads(
        num_classes=CLASSES, batch_size_per_image=1_000_000, positive_fraction=0.25,
        proposal_matcher=Matcher([0.5], [0, 1]), box_in_features=levels, mask_in_features=levels,
        box_pooler=ROIPooler(7, scales, sampling_ratio=0, pooler_type="ROIAlignV2"),
        box_head=FastRCNNConvFCHead(ShapeSpec(channels=CHANNELS, height=7, width=7), fc_dims=[32], **conv),
        box_predictor=FastRCNNOutputLayers(
            ShapeSpec(channels=32), box2box_transform=Box2BoxTransform((10, 10, 5, 5)), num_classes=CLASSES,
            test_score_thresh=0.05, test_topk_per_image=20, **predictor,
        ),
        mask_pooler=ROIPooler(14, scales, sampling_ratio=0, pooler_type="ROIAlignV2"),
        mask_head=MaskRCNNConvUpsampleHead(
            ShapeSpec(channels=CHANNELS, height=14, width=14), num_classes=CLASSES, conv_dims=[CHANNELS] * 5,
            conv_norm="LN",
        ),
    )  # fmt: skip
    return GeneralizedRCNN(
        backbone=backbone, proposal_generator=rpn, roi_heads=roi_heads, pixel_mean=MEAN, pixel_std=STD,
        input_format="RGB",
    )  # fmt: skip


def bitmaps(boxes, size):
    """Masks that fill boxes with whole corners: N x H x W bool."""
    ys, xs = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(1)
    return (xs > x0) & (xs < x1) & (ys > y0) & (ys < y1)


def samples():
    """Two images of different sizes, resized from others, with objects."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for size, original, boxes, classes in (
        ((96, 128), (192, 250), [[10.0, 12, 50, 60], [60, 20, 110, 90]], [2, 0]),
        ((120, 72), (120, 72), [[8.0, 30, 64, 100]], [1]),
    ):
        image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        corners = torch.tensor(boxes)
        instances = Instances(size, corners, torch.tensor(classes), masks=bitmaps(corners, size))
        found.append({"image": image, "height": original[0], "width": original[1], "instances": instances})
    return found
