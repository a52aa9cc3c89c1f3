"""Mask R-CNN and Cascade Mask R-CNN."""

from pe_dense.modeling.detection.anchors import AnchorGenerator
from pe_dense.modeling.detection.box_head import BoxHead, BoxPredictor
from pe_dense.modeling.detection.build import build_cascade_mask_rcnn, build_mask_rcnn, build_tracking_rcnn
from pe_dense.modeling.detection.cascade import CascadeROIHeads
from pe_dense.modeling.detection.class_loss import FederatedLoss, SoftmaxLoss
from pe_dense.modeling.detection.detector import Detector
from pe_dense.modeling.detection.identity import IdentityHead, IdentityLoss
from pe_dense.modeling.detection.mask_head import MaskHead
from pe_dense.modeling.detection.mask_rcnn import MaskRCNN
from pe_dense.modeling.detection.matcher import Matcher
from pe_dense.modeling.detection.pooler import ROIPooler
from pe_dense.modeling.detection.released import from_detectron2, load_released, to_detectron2
from pe_dense.modeling.detection.roi_heads import ROIHeads
from pe_dense.modeling.detection.rpn import RPN, RPNHead
from pe_dense.modeling.detection.tracking_rcnn import TrackingRCNN
from pe_dense.modeling.detection.tta import DetectionTTA

__all__ = [
    "RPN",
    "AnchorGenerator",
    "BoxHead",
    "BoxPredictor",
    "CascadeROIHeads",
    "DetectionTTA",
    "Detector",
    "FederatedLoss",
    "IdentityHead",
    "IdentityLoss",
    "MaskHead",
    "MaskRCNN",
    "Matcher",
    "ROIHeads",
    "ROIPooler",
    "RPNHead",
    "SoftmaxLoss",
    "TrackingRCNN",
    "build_cascade_mask_rcnn",
    "build_mask_rcnn",
    "build_tracking_rcnn",
    "from_detectron2",
    "load_released",
    "to_detectron2",
]
