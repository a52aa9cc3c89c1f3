"""Class names and ids to detectron2's metadata and back."""

import pytest

pytest.importorskip("detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError)

from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata

from pe_dense.interop.detectron2 import from_metadata, to_metadata
from pe_dense.structures import Categories

NAME = "interop_metadata"


@pytest.fixture(autouse=True)
def _forget():
    yield
    MetadataCatalog.pop(NAME, None)


def metadata(**fields):
    return Metadata(name=NAME).set(**fields)


def test_there_and_back():
    ours = Categories((1, 3, 90), ("person", "car", "toothbrush"))
    theirs = to_metadata(ours, NAME)
    assert theirs is MetadataCatalog.get(NAME)
    assert theirs.thing_classes == ["person", "car", "toothbrush"]
    assert theirs.thing_dataset_id_to_contiguous_id == {1: 0, 3: 1, 90: 2}
    assert from_metadata(theirs) == ours
    assert to_metadata(ours, NAME) is theirs
    with pytest.raises(ValueError, match="data set 'interop_metadata' has another thing_classes already"):
        to_metadata(Categories((1,), ("cat",)), NAME)


def test_coco_as_detectron2_knows_it():
    ours = from_metadata(MetadataCatalog.get("coco_2017_val"))
    assert len(ours) == 80
    assert (ours.ids[-1], ours.names[-1]) == (90, "toothbrush")
    assert to_metadata(ours, "coco_2017_val").thing_classes[0] == "person"


def test_ids_that_are_not_given():
    assert from_metadata(metadata(thing_classes=["a", "b"])) == Categories((0, 1), ("a", "b"))
    lvis = from_metadata(MetadataCatalog.get("lvis_v1_val"))
    assert (len(lvis), lvis.ids[0], lvis.names[0]) == (1203, 1, "aerosol_can")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"has no class names; set MetadataCatalog\.get\('interop_metadata'\)\.thing_classes"),
        ({"thing_classes": ["a", "b"], "thing_dataset_id_to_contiguous_id": {1: 0}}, "has 2 thing_classes but .* to 1"),
        ({"thing_classes": ["a", "b"], "thing_dataset_id_to_contiguous_id": {1: 0, 2: 0}}, "give each class index one"),
        ({"thing_classes": ["a", "b"], "thing_dataset_id_to_contiguous_id": {5: 0, 3: 1}}, r"than their ids \[5, 3\]"),
    ],
)
def test_metadata_that_does_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        from_metadata(metadata(**fields))
