"""Objects to detectron2's structures and back."""

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError)

from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import BitMasks, Boxes, PolygonMasks, ROIMasks, RotatedBoxes
from detectron2.structures import Instances as TheirInstances
from pycocotools import mask as coco_mask

from pe_dense.interop.detectron2 import from_detectron2, to_detectron2
from pe_dense.modeling.detection.postprocess import to_original_size
from pe_dense.structures import Instances, RoiMasks, encode_masks

from .helpers import bitmaps

SIZE = (40, 60)
BOXES = torch.tensor([[5.0, 6, 25, 36], [30, 2, 58, 20], [0, 0, 10, 10]])


def found(**fields):
    fields = {"classes": torch.tensor([2, 0, 1]), "masks": bitmaps(BOXES, SIZE)} | fields
    return Instances(SIZE, BOXES.clone(), **fields)


def same(ours, others):
    assert ours.image_size == others.image_size
    for name in ("boxes", "classes", "scores", "masks", "crowd", "track_ids"):
        a, b = getattr(ours, name), getattr(others, name)
        assert (a is None) == (b is None), name
        assert a is None or (torch.equal(a, b) and a.dtype == b.dtype), name


def test_predictions_there_and_back():
    ours = found(scores=torch.tensor([0.9, 0.5, 0.1]), track_ids=torch.tensor([7, 8, 9]))
    theirs = to_detectron2(ours)
    assert set(theirs.get_fields()) == {"pred_boxes", "pred_classes", "scores", "pred_masks", "track_ids"}
    assert isinstance(theirs.pred_boxes, Boxes)
    same(from_detectron2(theirs), ours)
    same(from_detectron2(theirs[theirs.scores > 0.3]), ours[:2])
    boxes_only = Instances(SIZE, BOXES)
    same(from_detectron2(to_detectron2(boxes_only)), boxes_only)
    same(from_detectron2(to_detectron2(Instances.empty(SIZE))), Instances.empty(SIZE))


def test_targets_there_and_back():
    theirs = to_detectron2(found(), targets=True)
    assert set(theirs.get_fields()) == {"gt_boxes", "gt_classes", "gt_masks"}
    assert isinstance(theirs.gt_masks, BitMasks)
    same(from_detectron2(theirs), found())


def test_crowds_are_no_targets():
    theirs = to_detectron2(found(crowd=torch.tensor([False, True, False])), targets=True)
    same(from_detectron2(theirs), found()[torch.tensor([0, 2])])


def test_every_kind_of_masks():
    expected = bitmaps(BOXES, SIZE)
    corners = [[x0, y0, x1, y0, x1, y1, x0, y1] for x0, y0, x1, y1 in BOXES.tolist()]
    kinds = {
        "gt_masks": [BitMasks(expected), PolygonMasks([[np.array(c)] for c in corners])],
        "pred_masks": [expected, expected.float(), encode_masks(expected)],
        "pred_masks_rle": [coco_mask.encode(np.asfortranarray(expected.permute(1, 2, 0).numpy().astype(np.uint8)))],
    }
    for name, values in kinds.items():
        boxes = "gt_boxes" if name == "gt_masks" else "pred_boxes"
        for value in values:
            ours = from_detectron2(TheirInstances(SIZE, **{boxes: Boxes(BOXES), name: value}))
            assert ours.masks.dtype == torch.bool
            assert torch.equal(ours.masks, expected), (name, type(value))
    none = from_detectron2(TheirInstances(SIZE, gt_boxes=Boxes(torch.zeros(0, 4)), gt_masks=PolygonMasks([])))
    assert none.masks.shape == (0, *SIZE)


@pytest.mark.parametrize("wrap", [ROIMasks, lambda probs: probs[:, None]], ids=["ROIMasks", "tensor"])
def test_small_masks_are_pasted_as_detectron2_pastes_them(wrap):
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(3, 28, 28, generator=generator)
    ours = from_detectron2(TheirInstances(SIZE, pred_boxes=Boxes(BOXES.clone()), pred_masks=wrap(probs)))
    assert isinstance(ours.masks, RoiMasks)
    theirs = TheirInstances(SIZE, pred_boxes=Boxes(BOXES.clone()), pred_masks=wrap(probs))
    pasted = detector_postprocess(theirs, 100, 90)
    larger = to_original_size(ours, 100, 90)
    torch.testing.assert_close(larger.boxes, pasted.pred_boxes.tensor)
    assert torch.equal(to_detectron2(larger).pred_masks, pasted.pred_masks)


def test_what_has_no_place_here():
    theirs = TheirInstances(SIZE, gt_boxes=Boxes(BOXES), gt_keypoints=torch.zeros(3, 17, 3))
    same(from_detectron2(theirs), Instances(SIZE, BOXES))
    with pytest.raises(ValueError, match=r"fields \['scores'\] have no boxes; pe_dense needs pred_boxes or gt_boxes"):
        from_detectron2(TheirInstances(SIZE, scores=torch.ones(3)))
    with pytest.raises(ValueError, match="pred_boxes are RotatedBoxes; pe_dense has only upright"):
        from_detectron2(TheirInstances(SIZE, pred_boxes=RotatedBoxes(torch.rand(3, 5))))
    with pytest.raises(ValueError, match=r"masks are a Tensor of shape \(3, 9, 9\), in an image of size \(40, 60\)"):
        from_detectron2(TheirInstances(SIZE, pred_boxes=Boxes(BOXES), pred_masks=torch.zeros(3, 9, 9)))
