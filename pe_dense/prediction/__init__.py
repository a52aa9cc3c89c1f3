"""A trained model applied to images: single ones in Python, or the user's files (pictures, videos and results)."""

from pe_dense.prediction.coco_results import ResultsWriter
from pe_dense.prediction.encoder_view import EncoderView
from pe_dense.prediction.feature_extractor import FeatureExtractor, features
from pe_dense.prediction.feature_maps import FeatureMaps
from pe_dense.prediction.feature_pictures import FeatureDrawing, visualize_features
from pe_dense.prediction.files import Camera, predict_files
from pe_dense.prediction.images import ImageLike
from pe_dense.prediction.loading import load_predictor
from pe_dense.prediction.predictor import Predictor
from pe_dense.prediction.report import PredictionReport
from pe_dense.prediction.track_objects import TrackedVideo, draw_masks, track_video
from pe_dense.prediction.track_sets import TrackedSet, track_sequence, track_set
from pe_dense.prediction.tracker_loading import TrackerSource
from pe_dense.prediction.video_io import VideoFrame, VideoReader, VideoWriter

__all__ = [
    "Camera",
    "EncoderView",
    "FeatureDrawing",
    "FeatureExtractor",
    "FeatureMaps",
    "ImageLike",
    "PredictionReport",
    "Predictor",
    "ResultsWriter",
    "TrackedSet",
    "TrackedVideo",
    "TrackerSource",
    "VideoFrame",
    "VideoReader",
    "VideoWriter",
    "draw_masks",
    "features",
    "load_predictor",
    "predict_files",
    "track_sequence",
    "track_set",
    "track_video",
    "visualize_features",
]
