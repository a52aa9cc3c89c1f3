"""Meta's released detectors by name: ``load("mask_rcnn_pe_spatial_g_coco")("street.jpg").boxes``."""

from pe_dense.model_zoo.entries import ENTRIES, Entry, find_entry
from pe_dense.model_zoo.evaluation import evaluate
from pe_dense.model_zoo.export import export_detectron2
from pe_dense.model_zoo.files import MIRROR, find_file
from pe_dense.model_zoo.integrity import RECORD_SUFFIX
from pe_dense.model_zoo.loading import load, recipe, released_config

__all__ = [
    "ENTRIES",
    "MIRROR",
    "RECORD_SUFFIX",
    "Entry",
    "evaluate",
    "export_detectron2",
    "find_entry",
    "find_file",
    "load",
    "recipe",
    "released_config",
]
