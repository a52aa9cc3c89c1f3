"""Counts and lists in messages."""

import pytest

from pe_dense.structures.wording import counted, few, nearest


@pytest.mark.parametrize(
    ("number", "what", "text"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (1, "class", "1 class"),
        (80, "class", "80 classes"),
        (2, "category", "2 categories"),
        (2, "key", "2 keys"),
        (3, "box of zero size", "3 boxes of zero size"),
        (1, "box of zero size", "1 box of zero size"),
    ],
)
def test_counted(number, what, text):
    assert counted(number, what) == text


def test_few():
    assert [few([]), few(["a"]), few(["a", "b", "c"], 3), few(list("abcde"), 3)] == [
        "",
        "a",
        "a, b, c",
        "a, b, c and 2 more",
    ]


def test_nearest():
    """Names that begin as the one that was given come first."""
    towers = ["PE-Core-B16-224", "PE-Spatial-B16-512", "PE-Spatial-L14-448", "PE-Spatial-G14-448"]
    assert nearest("pe-spatial-b16-448", towers, 0.7) == ["PE-Spatial-B16-512", *towers[2:]]
    assert nearest("PE-Spacial-L14", towers, 0.7)[0] == "PE-Spatial-L14-448"
    detectors = ["rcnn_core_g_coco", "rcnn_spatial_g_coco", "rcnn_core_g_lvis", "rcnn_spatial_g_lvis"]
    assert nearest("rcnn_spatial_g", detectors, 0.5) == ["rcnn_spatial_g_coco", "rcnn_spatial_g_lvis"]
    assert nearest("yolo", detectors, 0.5) == []
