"""The few typed containers that cross rooms."""

from pe_dense.structures.categories import SEARCHED_LISTS, Categories
from pe_dense.structures.image_batch import ImageBatch
from pe_dense.structures.instances import Instances
from pe_dense.structures.masks import RoiMasks, encode_masks, encode_rle, paste_masks
from pe_dense.structures.tracks import NO_ID, Tracks

__all__ = [
    "NO_ID",
    "SEARCHED_LISTS",
    "Categories",
    "ImageBatch",
    "Instances",
    "RoiMasks",
    "Tracks",
    "encode_masks",
    "encode_rle",
    "paste_masks",
]
