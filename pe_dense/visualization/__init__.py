"""Drawing: objects, masks, depth, labels, features, curves."""

from pe_dense.visualization.canvas import as_rgb, save_image
from pe_dense.visualization.colors import palette_color
from pe_dense.visualization.curves import plot_run, read_metrics
from pe_dense.visualization.dense import DepthKind, depth_to_rgb, overlay_sem_seg
from pe_dense.visualization.dense_errors import depth_error_to_rgb, sem_seg_error_to_rgb
from pe_dense.visualization.dense_results import draw_dense, visualize_dense
from pe_dense.visualization.detections import visualize_detections
from pe_dense.visualization.features import FeatureClusters, FeatureColors, features_to_rgb
from pe_dense.visualization.features_page import write_features_page
from pe_dense.visualization.instances import ColorBy, draw_instances
from pe_dense.visualization.layer_curves import LayerCurve, plot_layers
from pe_dense.visualization.point_cloud import Intrinsics, point_cloud, save_ply
from pe_dense.visualization.predictions import PredictionPainter, PredictionStyle
from pe_dense.visualization.sheets import contact_sheet, side_by_side
from pe_dense.visualization.tracks import TrackPainter

__all__ = [
    "ColorBy",
    "DepthKind",
    "FeatureClusters",
    "FeatureColors",
    "Intrinsics",
    "LayerCurve",
    "PredictionPainter",
    "PredictionStyle",
    "TrackPainter",
    "as_rgb",
    "contact_sheet",
    "depth_error_to_rgb",
    "depth_to_rgb",
    "draw_dense",
    "draw_instances",
    "features_to_rgb",
    "overlay_sem_seg",
    "palette_color",
    "plot_layers",
    "plot_run",
    "point_cloud",
    "read_metrics",
    "save_image",
    "save_ply",
    "sem_seg_error_to_rgb",
    "side_by_side",
    "visualize_dense",
    "visualize_detections",
    "write_features_page",
]
