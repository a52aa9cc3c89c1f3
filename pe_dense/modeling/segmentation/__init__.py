"""Semantic segmentation: heads, sliding windows and the model."""

from pe_dense.modeling.segmentation.build import build_linear_segmenter, build_pyramid_segmenter
from pe_dense.modeling.segmentation.inference import SegInference, Window, window_grid
from pe_dense.modeling.segmentation.linear_head import LinearSegHead
from pe_dense.modeling.segmentation.pyramid_head import PyramidSegHead
from pe_dense.modeling.segmentation.segmenter import SemanticSegmenter

__all__ = [
    "LinearSegHead",
    "PyramidSegHead",
    "SegInference",
    "SemanticSegmenter",
    "Window",
    "build_linear_segmenter",
    "build_pyramid_segmenter",
    "window_grid",
]
