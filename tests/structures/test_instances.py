import pytest
import torch

from pe_dense.structures import Instances, RoiMasks


def some(n=3, **extra):
    return Instances((8, 9), torch.arange(4.0 * n).view(n, 4), classes=torch.arange(n), **extra)


def test_selection_keeps_every_field():
    roi = RoiMasks(torch.rand(3, 2, 2), torch.rand(3, 4), (8, 9))
    objects = some(masks=roi, scores=torch.tensor([0.1, 0.9, 0.5]))
    kept = objects[objects.scores > 0.3]
    assert kept.classes.tolist() == [1, 2]
    assert torch.equal(kept.masks.probs, roi.probs[1:])
    assert len(objects[torch.tensor([], dtype=torch.int64)]) == 0
    assert objects[1:].image_size == (8, 9)


def test_rows_must_agree():
    with pytest.raises(ValueError, match=r"Instances\.scores has 2 rows but boxes has 3"):
        some(scores=torch.rand(2))


def test_cat_drops_fields_that_are_not_shared():
    joined = Instances.cat([some(2, scores=torch.rand(2)), some(1)])
    assert joined.classes.tolist() == [0, 1, 0]
    assert joined.scores is None
    a, b = (some(n, masks=RoiMasks(torch.rand(n, 2, 2), torch.rand(n, 4), (8, 9))) for n in (1, 2))
    assert len(Instances.cat([a, b]).masks) == 3


def test_to_and_empty():
    assert some().to("meta").boxes.device.type == "meta"
    empty = Instances.empty((4, 5))
    assert len(empty) == 0
    assert empty.boxes.shape == (0, 4)


def test_repr_is_one_line():
    assert repr(some(scores=torch.rand(3))) == "Instances(3 objects in 8 x 9: boxes, classes, scores)"
