"""Against the real supervision, where it is installed."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch

from pe_dense.structures import Instances, RoiMasks, Tracks, encode_rle

from .cases import CATEGORIES, SIZE, same

MODULE = "pe_dense.interop.supervision"


@pytest.fixture
def sv():
    return pytest.importorskip("supervision", reason="the package supervision is not installed")


@pytest.fixture
def ours(sv):
    return import_module(MODULE)


def masks(count=3):
    found = torch.zeros(count, *SIZE, dtype=torch.bool)
    for i in range(count):
        found[i, 2 * i : 2 * i + 9, 3 * i : 3 * i + 7] = True
    return found


def objects(**fields):
    boxes = torch.tensor([[0.25, 0, 7, 9], [3, 2, 10, 11.5], [6, 4, 13, 13]])
    given = {"classes": torch.tensor([2, 0, 2]), "scores": torch.tensor([0.9, 0.5, 0.1])}
    return Instances(SIZE, boxes, **{**given, **fields})


def test_without_supervision_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(ImportError, match=r"needs the package supervision.*pip install supervision"):
        import_module(MODULE)


def test_there_and_back(ours):
    full = objects(masks=masks(), track_ids=torch.tensor([4, -1, 6]), crowd=torch.tensor([False, True, False]))
    found = ours.to_supervision(full, CATEGORIES)
    assert found.xyxy.tolist() == full.boxes.tolist()
    assert found.data["class_name"].tolist() == ["red bus", "cat", "red bus"]
    assert found.tracker_id.tolist() == [4, -1, 6]
    assert (found.mask.dtype, found.mask.shape) == (bool, (3, *SIZE))
    same(ours.from_supervision(found), full)
    same(ours.from_supervision(found, SIZE, CATEGORIES), full)
    found.xyxy[:] = 0
    assert full.boxes[0, 2] == 7  # its own memory
    for plain in (objects(), objects(scores=None, classes=None), Instances.empty(SIZE)):
        same(ours.from_supervision(ours.to_supervision(plain), SIZE), plain)


def test_what_supervision_does_with_it(sv, ours):
    found = ours.to_supervision(objects(masks=masks()), CATEGORIES)
    kept = found[found.data["class_name"] == "red bus"]
    same(ours.from_supervision(kept), objects(masks=masks())[torch.tensor([0, 2])])
    merged = sv.Detections.merge([kept, found[found.class_id == 0]])
    assert len(ours.from_supervision(merged, SIZE)) == 3
    assert found.with_nms(0.1).confidence[0] == pytest.approx(0.9)
    assert found.area.tolist() == [63, 63, 63]
    scene = np.zeros((*SIZE, 3), np.uint8)
    assert sv.MaskAnnotator().annotate(scene.copy(), found).any()
    assert sv.LabelAnnotator().annotate(scene.copy(), found).any()
    if hasattr(found, "to_compact_masks"):
        same(ours.from_supervision(found.to_compact_masks()), objects(masks=masks()))


def test_small_masks_are_pasted(ours):
    probs = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    small = objects(masks=RoiMasks(probs, objects().boxes, SIZE))
    found = ours.to_supervision(small)
    assert np.array_equal(found.mask, small.masks.bitmasks().numpy())
    assert found.mask.any()


def test_empty(sv, ours):
    found = ours.from_supervision(sv.Detections.empty(), SIZE, CATEGORIES)
    assert (len(found), found.image_size, found.boxes.shape) == (0, SIZE, (0, 4))
    empty = ours.to_supervision(Instances.empty(SIZE), CATEGORIES)
    assert empty.is_empty()
    assert empty.data["class_name"].tolist() == []
    full = ours.to_supervision(objects(), CATEGORIES)
    assert len(sv.Detections.merge([empty, full])) == 3


def test_class_names_of_another_model(sv, ours):
    names = {"class_name": np.array(["dog", "cat"])}
    found = sv.Detections(np.zeros((2, 4)), class_id=np.array([18, 17]), data=names)
    assert ours.from_supervision(found, SIZE).classes.tolist() == [18, 17]
    assert ours.from_supervision(found, SIZE, CATEGORIES).classes.tolist() == [1, 0]
    found.data["class_name"] = np.array(["doggy", "cat"])
    with pytest.raises(ValueError, match=r"no category is called 'doggy', did you mean 'dog'\?"):
        ours.from_supervision(found, SIZE, CATEGORIES)
    del found.data["class_name"]
    with pytest.raises(ValueError, match="there are 3 categories, and no class 17, 18, counted from 0"):
        ours.from_supervision(found, SIZE, CATEGORIES)


def test_a_list_of_names_is_no_categories(ours):
    found, names = ours.to_supervision(objects(), CATEGORIES), ["cat", "dog", "red bus"]
    calls = [
        lambda: ours.to_supervision(objects(), names),
        lambda: ours.from_supervision(found, SIZE, names),
        lambda: ours.from_supervision(ours.to_supervision(objects()), SIZE, names),
        lambda: ours.tracks_to_supervision(video(), names),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"categories must be Categories, e\.g\. predictor\.categories .*not list"):
            call()


def test_wrong_sizes(ours):
    with pytest.raises(ValueError, match="image_size is needed"):
        ours.from_supervision(ours.to_supervision(objects()))
    with pytest.raises(ValueError, match=r"image_size is \(5, 6\), but the masks are of \(20, 30\)"):
        ours.from_supervision(ours.to_supervision(objects(masks=masks())), (5, 6))
    with pytest.raises(ValueError, match="no class 3"):
        ours.to_supervision(objects(classes=torch.tensor([0, 3, 1])), CATEGORIES)


def video(**columns):
    boxes = np.arange(16).reshape(4, 4) / 3
    given = {"ids": [1, 2, 1, -1], "scores": [1, 0.5, 0.25, 0.125], "classes": [7, 3, 7, 9]}
    return Tracks.create([0, 0, 3, 2], boxes, **{**given, **columns})


@pytest.mark.parametrize("with_masks", [False, True])
def test_tracks(ours, with_masks):
    rle = [encode_rle(mask.numpy()) for mask in masks(4)] if with_masks else None
    tracks = video(masks=rle)
    frames = list(ours.tracks_to_supervision(tracks, CATEGORIES, num_frames=6))
    assert [frame.tracker_id.tolist() for frame in frames] == [[1, 2], [], [-1], [1], [], []]
    assert frames[0].data["class_name"].tolist() == ["dog", "cat"]
    if with_masks:
        assert np.array_equal(frames[3].mask[0], masks(4)[2].numpy())
    back = ours.tracks_from_supervision(frames)
    for name in ("frames", "ids", "boxes", "scores", "classes", "masks"):
        assert np.array_equal(getattr(back, name), getattr(tracks.sorted(), name)), name


def test_tracks_in_part(sv, ours):
    assert [len(frame) for frame in ours.tracks_to_supervision(video())] == [2, 0, 1, 1]
    assert list(ours.tracks_to_supervision(Tracks.empty())) == []
    assert len(ours.tracks_from_supervision([sv.Detections.empty()] * 3)) == 0
    plain = ours.tracks_from_supervision([sv.Detections.empty(), sv.Detections(np.zeros((2, 4)))])
    assert (plain.frames.tolist(), plain.ids.tolist(), plain.scores.tolist()) == ([1, 1], [-1, -1], [1, 1])
    with pytest.raises(ValueError, match=r"classes \[8\] of the tracks are no category's id"):
        ours.tracks_to_supervision(video(classes=[7, 8, 7, 9]), CATEGORIES)
    with pytest.raises(ValueError, match="num_frames is 3, but there are objects in frame 3"):
        ours.tracks_to_supervision(video(), num_frames=3)
