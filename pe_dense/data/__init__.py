"""Data sets, transforms, samplers and loaders."""

from pe_dense.data.annotations import ImageAnnotations
from pe_dense.data.coco import CocoDataset, class_names, count_classes, has_masks
from pe_dense.data.errors import DataError
from pe_dense.data.holdout import training_part, validation_json, validation_part
from pe_dense.data.image_folder import ImageFolder
from pe_dense.data.image_io import read_image
from pe_dense.data.loader import TestLoader, TrainLoader, build_test_loader, build_train_loader
from pe_dense.data.mapper import MappedDataset
from pe_dense.data.transforms import (
    ColorJitter,
    LargeScaleJitter,
    RandomCrop,
    RandomFlip,
    ResizeShortestEdge,
    Transform,
    transform_image,
)

__all__ = [
    "CocoDataset",
    "ColorJitter",
    "DataError",
    "ImageAnnotations",
    "ImageFolder",
    "LargeScaleJitter",
    "MappedDataset",
    "RandomCrop",
    "RandomFlip",
    "ResizeShortestEdge",
    "TestLoader",
    "TrainLoader",
    "Transform",
    "build_test_loader",
    "build_train_loader",
    "class_names",
    "count_classes",
    "has_masks",
    "read_image",
    "training_part",
    "transform_image",
    "validation_json",
    "validation_part",
]
