from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pe_dense.prediction.file_masks import compressed_rle
from pe_dense.structures import encode_rle

SIZE = (12, 16)


def square() -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[2:7, 3:9] = 1
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """Column by column, zeros first."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    return np.diff([0, *ends, len(flat)]).tolist()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[3, 2, 9, 2, 9, 7, 3, 7]],
        [[3, 2, 9, 2, 9, 4, 3, 4], [3, 4, 9.0, 4, 9, 7, 3, 7]],  # two parts
        encode_rle(square()),
        {"size": list(SIZE), "counts": runs(square())},
    ],
)
def test_every_form(segmentation: Any) -> None:
    np.testing.assert_array_equal(coco_mask.decode(compressed_rle(segmentation, SIZE)), square())


@pytest.mark.parametrize("segmentation", [None, []])
def test_no_mask_is_empty(segmentation: Any) -> None:
    rle = compressed_rle(segmentation, SIZE)
    assert coco_mask.decode(rle).shape == SIZE
    assert coco_mask.area(rle) == 0


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "three points or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points or more"),
        ([1, 2, 3, 4, 5, 6], "not a list"),
        ([[1, 2, 3, 4, 5, float("nan")]], "other than finite numbers"),
        ([[1, 2, 3, 4, 5, "6"]], "other than finite numbers"),
        ({"size": [12, 17], "counts": [204]}, r"has size \[12, 17\] but its image is \[12, 16\]"),
        ({"size": 12, "counts": [192]}, "has size 12 but"),
        ({"size": [12, 16], "counts": [100, 3]}, "runs that do not add up to height x width = 192"),
        ({"size": [12, 16], "counts": [-1, 193]}, "runs that do not add up"),
        ({"size": [12, 16], "counts": "0"}, "describes 0 pixels, not"),
        ({"size": [12, 16]}, "is not a run-length encoding"),
        ("mask.png", "is not a run-length encoding"),
    ],
)
def test_what_is_wrong(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compressed_rle(segmentation, SIZE)
