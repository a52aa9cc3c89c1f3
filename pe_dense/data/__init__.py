"""Data sets, transforms, samplers and loaders."""

from pe_dense.data.annotations import ImageAnnotations
from pe_dense.data.class_folder import ClassFolder, count_folder_classes
from pe_dense.data.classification_transforms import CenterCrop, RandomResizedCrop
from pe_dense.data.coco import CocoDataset, class_image_counts, class_names, count_classes, has_masks
from pe_dense.data.combined import JointDataset, MixedDataset
from pe_dense.data.dense_transforms import (
    Crop,
    FixedSizeCrop,
    GammaJitter,
    PhotometricDistortion,
    RandomRotation,
    RandomScale,
)
from pe_dense.data.depth import DepthList, KITTIDepth, NYUDepth
from pe_dense.data.errors import DataError
from pe_dense.data.frame_pairs import build_pair_loader
from pe_dense.data.holdout import training_part, validation_json, validation_part
from pe_dense.data.image_folder import ImageFolder
from pe_dense.data.image_io import read_image
from pe_dense.data.indexed_png import DAVIS_PALETTE, read_indexed_png, read_object_ids, write_indexed_png
from pe_dense.data.loader import TestLoader, TrainLoader, build_test_loader, build_train_loader
from pe_dense.data.mapper import MappedDataset
from pe_dense.data.mixing import DataSource, build_mixed_train_loader
from pe_dense.data.mot import CocoVideoFrames, MotFrames
from pe_dense.data.nyu_mat import NYUDepthMat
from pe_dense.data.objects365 import Objects365
from pe_dense.data.sem_seg import SemSegFolder, count_sem_seg_classes
from pe_dense.data.sem_seg_sets import ADE20K, VOC2012, CamVid, Cityscapes
from pe_dense.data.split import training_share, validation_share
from pe_dense.data.transforms import (
    ColorJitter,
    LargeScaleJitter,
    RandomChoice,
    RandomCrop,
    RandomFlip,
    ResizeShortestEdge,
    Transform,
    transform_image,
)
from pe_dense.data.video_frames import VideoFrames, build_clip_loader
from pe_dense.data.video_results import VideoResults
from pe_dense.data.video_sequences import VideoFolder, VideoSequence, VideoSequences
from pe_dense.data.video_sets import DAVIS2016, DAVIS2017, SET_KINDS, YouTubeVOS, open_video_set

__all__ = [
    "ADE20K",
    "DAVIS2016",
    "DAVIS2017",
    "DAVIS_PALETTE",
    "SET_KINDS",
    "VOC2012",
    "CamVid",
    "CenterCrop",
    "Cityscapes",
    "ClassFolder",
    "CocoDataset",
    "CocoVideoFrames",
    "ColorJitter",
    "Crop",
    "DataError",
    "DataSource",
    "DepthList",
    "FixedSizeCrop",
    "GammaJitter",
    "ImageAnnotations",
    "ImageFolder",
    "JointDataset",
    "KITTIDepth",
    "LargeScaleJitter",
    "MappedDataset",
    "MixedDataset",
    "MotFrames",
    "NYUDepth",
    "NYUDepthMat",
    "Objects365",
    "PhotometricDistortion",
    "RandomChoice",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomScale",
    "ResizeShortestEdge",
    "SemSegFolder",
    "TestLoader",
    "TrainLoader",
    "Transform",
    "VideoFolder",
    "VideoFrames",
    "VideoResults",
    "VideoSequence",
    "VideoSequences",
    "YouTubeVOS",
    "build_clip_loader",
    "build_mixed_train_loader",
    "build_pair_loader",
    "build_test_loader",
    "build_train_loader",
    "class_image_counts",
    "class_names",
    "count_classes",
    "count_folder_classes",
    "count_sem_seg_classes",
    "has_masks",
    "open_video_set",
    "read_image",
    "read_indexed_png",
    "read_object_ids",
    "training_part",
    "training_share",
    "transform_image",
    "validation_json",
    "validation_part",
    "validation_share",
    "write_indexed_png",
]
