"""A predictor applied to the user's files: images and videos in, pictures, videos and COCO json out."""

from pe_dense.prediction.coco_results import ResultsWriter
from pe_dense.prediction.files import PredictionReport, predict_files
from pe_dense.prediction.loading import load_predictor
from pe_dense.prediction.video_io import VideoReader, VideoWriter

__all__ = ["PredictionReport", "ResultsWriter", "VideoReader", "VideoWriter", "load_predictor", "predict_files"]
