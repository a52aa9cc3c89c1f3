"""Depth from one or several layers of the encoder: heads, losses and the model."""

from pe_dense.modeling.depth.build import build_dpt_depth, build_linear_depth
from pe_dense.modeling.depth.decode import DepthBins, DepthRegression
from pe_dense.modeling.depth.dpt_head import DPTHead
from pe_dense.modeling.depth.estimator import DepthEstimator
from pe_dense.modeling.depth.linear_head import LinearDepthHead
from pe_dense.modeling.depth.losses import GradientLogLoss, SigLoss, SILogLoss
from pe_dense.modeling.depth.relative_loss import ScaleShiftInvariantLoss

__all__ = [
    "DPTHead",
    "DepthBins",
    "DepthEstimator",
    "DepthRegression",
    "GradientLogLoss",
    "LinearDepthHead",
    "SILogLoss",
    "ScaleShiftInvariantLoss",
    "SigLoss",
    "build_dpt_depth",
    "build_linear_depth",
]
