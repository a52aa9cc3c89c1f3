"""IoU of masks against that of their pixels, and tracking by it."""

from itertools import product

import numpy as np
import pytest
import torch

from pe_dense.modeling.tracking.association import OCSORT, BoTSORT, ByteTrack, Settings, Tracker
from pe_dense.modeling.tracking.association.mask_overlap import SIDE, mask_iou, shapes_of
from pe_dense.structures import Instances, RoiMasks

SIZE = (240, 320)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5


def ellipse(x: float, y: float, width: float, height: float, slant: float = 0.0) -> np.ndarray:
    """H x W bool; a slanted one is a thin stroke."""
    u, v = (X - x) / width, (Y - y) / height
    return (u - slant * v) ** 2 * (1 + 8 * abs(slant)) + v**2 < 0.25


def instances(masks: list[np.ndarray]) -> Instances:
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return Instances(SIZE, torch.tensor(boxes).float(), masks=torch.from_numpy(np.stack(masks)))


def of_pixels(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    return np.array([[(a & b).sum() / (a | b).sum() for b in second] for a in first])


def test_random_masks_equal_their_pixels() -> None:
    rng = np.random.default_rng(0)
    low, high = (60, 50, 30, 40, -0.8), (260, 190, 160, 120, 0.8)
    numbers = rng.uniform(low, high, (30, 5))
    changed = numbers + rng.normal(0, (3, 3, 2, 2, 0.02), numbers.shape)
    first, second = ([ellipse(*row) for row in some] for some in (numbers, changed))
    one, other = instances(first), instances(second)
    found = mask_iou(one.boxes.double().numpy(), shapes_of(one), other.boxes.double().numpy(), shapes_of(other))
    expected = of_pixels(first, second)
    assert (expected > 0.5).sum() > 20
    assert (expected == 0).any()
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert abs(found - expected).mean() < 0.005
    itself = mask_iou(one.boxes.double().numpy(), shapes_of(one), one.boxes.double().numpy(), shapes_of(one))
    np.testing.assert_allclose(itself.diagonal(), 1, atol=1e-6)
    np.testing.assert_allclose(itself, itself.T, atol=1e-9)


def test_many_pairs_equal_few(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = instances([ellipse(60 + 4 * i, 100, 60, 80, 0.2) for i in range(12)])
    boxes, shapes = objects.boxes.double().numpy(), shapes_of(objects)
    whole = mask_iou(boxes, shapes, boxes, shapes)
    monkeypatch.setattr("pe_dense.modeling.tracking.association.mask_overlap._PAIRS", 7)
    np.testing.assert_array_equal(mask_iou(boxes, shapes, boxes, shapes), whole)


def test_a_mask_moves_and_grows_with_its_box() -> None:
    before, after = instances([ellipse(100, 100, 60, 80, 0.5)]), instances([ellipse(180, 120, 90, 120, 0.5)])
    boxes = after.boxes.double().numpy()
    assert mask_iou(boxes, shapes_of(before), boxes, shapes_of(after))[0, 0] > 0.95


def test_predicted_masks_equal_pasted_ones() -> None:
    probs = torch.from_numpy(np.random.default_rng(1).random((5, 28, 28)))
    smooth = torch.nn.functional.avg_pool2d(probs[:, None], 7, 1, 3)[:, 0]
    boxes = torch.tensor(
        [[10.0, 20, 90, 140], [-8, 30, 60, 90], [200, 150, 330, 250], [5, 5, 6, 6], [50, 50, 250, 200]]
    )
    masks = RoiMasks(smooth, boxes, SIZE)
    predicted, pasted = Instances(SIZE, boxes, masks=masks), Instances(SIZE, boxes, masks=masks.bitmasks())
    difference = abs(shapes_of(predicted) - shapes_of(pasted))
    assert difference[[0, 4]].mean() < 0.05  # the others are cut off at the image border, or a pixel in size
    assert shapes_of(predicted).shape == (5, SIDE, SIDE)


def test_empty_masks_and_no_objects() -> None:
    box = torch.tensor([[10.0, 10, 50, 50]])
    shapes = shapes_of(Instances(SIZE, box, masks=torch.zeros(1, *SIZE, dtype=torch.bool)))
    assert mask_iou(box.numpy(), shapes, box.numpy(), shapes).tolist() == [[0]]
    nothing = shapes_of(Instances.empty(SIZE))
    assert mask_iou(np.zeros((0, 4)), nothing, box.numpy(), shapes).shape == (0, 1)
    assert mask_iou(box.numpy(), shapes, np.zeros((0, 4)), nothing).shape == (1, 0)


def crossing(frame: int) -> Instances:
    """Two thin strokes, / and \\, in boxes that are the same while they pass each other."""
    strokes = [ellipse(120 + 2 * frame, 120, 80, 100, 0.6), ellipse(160 - 2 * frame, 120, 80, 100, -0.6)]
    return instances(strokes if frame % 2 else strokes[::-1])


@pytest.mark.parametrize("preset", [ByteTrack, BoTSORT, OCSORT])
def test_masks_tell_apart_what_boxes_do_not(preset: type[ByteTrack] | type[OCSORT]) -> None:
    """Two objects turn back while their boxes are the same: motion says that they go on, masks that they do not."""
    switches = {}
    for kind in ("box", "mask"):
        tracker, slants = Tracker(preset(overlap=kind)), dict[int, set[bool]]()
        for moment in range(21):
            found = crossing(min(moment, 20 - moment))
            shown = tracker.update(found)
            assert shown.track_ids is not None
            assert isinstance(shown.masks, torch.Tensor)
            for track, mask in zip(shown.track_ids.tolist(), shown.masks.numpy()):
                top = X[mask & (Y < 100)].mean() if (mask & (Y < 100)).any() else 0
                slants.setdefault(track, set()).add(bool(top > X[mask].mean()))
        switches[kind] = sum(len(seen) > 1 for seen in slants.values())
    assert switches == {"box": 2, "mask": 0}


@pytest.mark.parametrize("settings", [ByteTrack(overlap="mask"), OCSORT(overlap="mask", byte=True)])
def test_what_goes_without_masks(settings: Settings) -> None:
    tracker, box = Tracker(settings), torch.tensor([[10.0, 10, 50, 50]])
    assert len(tracker.update(Instances.empty(SIZE))) == 0
    assert len(tracker.update(np.zeros((0, 5)))) == 0
    with pytest.raises(ValueError, match='the detections have no masks to compare: set overlap="box"'):
        tracker.update(Instances(SIZE, box))
    with pytest.raises(ValueError, match="an array of detections has no masks to compare: give Instances"):
        tracker.update(np.array([[10.0, 10, 50, 50, 0.9]]))
    for _ in range(5):
        shown = tracker.update(Instances(SIZE, box, masks=torch.ones(1, *SIZE, dtype=torch.bool)))
    assert shown.track_ids is not None
    assert shown.track_ids.tolist() == [1]
    for name, choice in product(("ByteTrack", "OCSORT"), ("Box", "")):
        with pytest.raises(ValueError, match=rf"{name}\.overlap is '{choice}': choose box, mask"):
            {"ByteTrack": ByteTrack, "OCSORT": OCSORT}[name](overlap=choice)
