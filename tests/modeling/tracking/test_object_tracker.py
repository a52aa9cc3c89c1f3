"""The tracker on drawn scenes, where mean colours of patches tell the objects apart, and with encoders."""

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from pe_dense.modeling.backbone import EncoderFeatures, LayerFeatures, PerceptionEncoder
from pe_dense.modeling.tracking import LabelPropagation, VideoObjectTracker

SIZE = (64, 96)
SETTINGS = LabelPropagation(short_side=64, long_multiple=0, radius=4)
COLORS = {3: (255, 30, 30), 260: (30, 30, 255), 8: (30, 255, 30)}


class Colors(nn.Module):
    """The mean colour of each patch of four pixels."""

    stride = 4

    def forward(self, images: torch.Tensor) -> list[LayerFeatures]:
        return [LayerFeatures(nn.functional.avg_pool2d(images, self.stride), None)]


def scene(places: dict[int, tuple[int, int]], size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Frame and ids: a 16 x 16 square of each object at (top, left), on grey."""
    frame, ids = np.full((*size, 3), 200, np.uint8), np.zeros(size, np.int64)
    for value, (top, left) in places.items():
        frame[top : top + 16, left : left + 16] = COLORS[value]
        ids[top : top + 16, left : left + 16] = value
    return frame, ids


def iou(labels: np.ndarray, ids: np.ndarray, value: int) -> float:
    return float(((labels == value) & (ids == value)).sum() / ((labels == value) | (ids == value)).sum())


@pytest.fixture
def tracker() -> VideoObjectTracker:
    return VideoObjectTracker(Colors(), SETTINGS)


def test_two_objects_with_a_gap_in_their_ids(tracker: VideoObjectTracker) -> None:
    frame, ids = scene({3: (4, 4), 260: (40, 60)})
    first = tracker.init(frame, ids)
    assert first.dtype == np.int32  # 260 does not fit into a byte
    assert np.array_equal(first, ids)
    for step in range(1, 12):
        frame, ids = scene({3: (4 + step, 4 + 4 * step), 260: (40 - 2 * step, 60)})
        labels = tracker.step(torch.from_numpy(frame).permute(2, 0, 1) if step % 2 else frame)
        assert min(iou(labels, ids, 3), iou(labels, ids, 260)) > 0.75
    assert tracker.object_ids == [3, 260]
    scores = tracker.scores()
    assert scores.shape == (3, *SIZE)
    torch.testing.assert_close(scores.sum(0), torch.ones(SIZE))
    assert tracker.init(*scene({3: (4, 4)})).dtype == np.uint8
    assert tracker.object_ids == [3]


def test_memory_is_bounded(tracker: VideoObjectTracker) -> None:
    frame, ids = scene({3: (4, 4)})
    tracker.init(frame, ids)
    seen, [memory] = [], tracker._memories
    tracker.backbone.register_forward_hook(lambda *_: seen.append(len(memory.given) + len(memory.recent)))
    for _ in range(15):
        tracker.step(frame)
    assert seen == [1, 2, 3, 4, 5, 6, 7] + [8] * 8


def test_an_object_that_appears_later(tracker: VideoObjectTracker) -> None:
    tracker.init(*scene({3: (4, 4)}))
    frame, ids = scene({3: (8, 8), 8: (40, 40)})
    assert set(np.unique(tracker.step(frame))) == {0, 3}
    added = tracker.add(np.where(ids == 8, 8, 0))
    assert np.array_equal(added == 8, ids == 8)
    assert iou(added, ids, 3) > 0.75
    for step in range(1, 12):  # longer than the queue: the frame of the new object stays
        frame, ids = scene({3: (8 + step, 8), 8: (40 - 2 * step, 40 + 3 * step)})
        labels = tracker.step(frame)
        assert min(iou(labels, ids, 3), iou(labels, ids, 8)) > 0.65
    assert len(tracker._memories[0].given) == 2


def test_a_better_mask_of_a_known_object(tracker: VideoObjectTracker) -> None:
    frame, ids = scene({3: (4, 4), 8: (40, 40)})
    wrong = np.where(ids == 8, 3, 0)  # the green square's mask with the red one's id
    tracker.init(frame, wrong)
    assert iou(tracker.step(frame), ids, 3) < 0.1
    corrected = tracker.add(np.where(ids == 3, 3, 0))
    assert iou(corrected, ids, 3) == 1
    assert tracker.object_ids == [3]


def test_an_object_that_vanishes_and_comes_back() -> None:
    tracker = VideoObjectTracker(Colors(), SETTINGS)
    frame, ids = scene({3: (24, 24)})
    tracker.init(frame, ids)
    for _ in range(10):
        assert not tracker.step(scene({})[0]).any()
    assert iou(tracker.step(frame), ids, 3) > 0.9


def test_masks_without_objects(tracker: VideoObjectTracker) -> None:
    frame, ids = scene({8: (20, 20)})
    tracker.init(frame, np.zeros(SIZE, np.uint8))
    labels = tracker.step(frame)
    assert labels.dtype == np.uint8
    assert not labels.any()
    assert not tracker.add(np.zeros(SIZE, bool)).any()
    assert len(tracker._memories[0].given) == 1
    assert iou(tracker.add(ids), ids, 8) == 1
    assert iou(tracker.step(frame), ids, 8) > 0.9


def test_a_whole_stream(tracker: VideoObjectTracker) -> None:
    videos = [scene({}), scene({3: (4, 4)}), scene({3: (6, 8), 8: (40, 40)}), scene({3: (8, 12), 8: (40, 44)})]
    read = []
    frames = (read.append(i) or frame for i, (frame, _) in enumerate(videos))
    stream = tracker.track(frames, {1: videos[1][1], 2: np.where(videos[2][1] == 8, 8, 0)})
    for count, (labels, (_, ids)) in enumerate(zip(stream, videos), 1):
        assert len(read) == count
        assert labels.shape == SIZE
        assert all(iou(labels, ids, value) > 0.75 for value in np.unique(ids) if value)
    assert len(read) == 4


def test_a_frame_of_another_size(tracker: VideoObjectTracker) -> None:
    frame, ids = scene({3: (16, 16)})
    tracker.init(frame, ids)
    large = frame.repeat(2, axis=0).repeat(2, axis=1)
    labels = tracker.step(large)
    assert iou(labels, ids.repeat(2, axis=0).repeat(2, axis=1), 3) > 0.9
    with pytest.raises(ValueError, match="a frame of 96 x 64 follows one of 64 x 96"):
        tracker.step(frame.transpose(1, 0, 2))
    assert iou(tracker.step(frame), ids, 3) > 0.9  # nothing is lost


@pytest.mark.parametrize("size", [(33, 57), (57, 33), (40, 40), (7, 90)])
@pytest.mark.parametrize("preset", [LabelPropagation.dino, LabelPropagation.dinov3])
def test_frames_of_any_size(size: tuple[int, int], preset: Callable[[], LabelPropagation]) -> None:
    class Coarse(Colors):
        stride = 60

    tracker = VideoObjectTracker(Coarse(), preset())
    frame = np.full((*size, 3), 90, np.uint8)
    masks = np.zeros(size, np.uint8)
    frame[:, size[1] // 2 :] = (250, 20, 20)
    masks[:, size[1] // 2 :] = 5
    tracker.init(frame, masks)
    assert iou(tracker.step(frame), masks, 5) > 0.7


def test_too_small_an_object(tracker: VideoObjectTracker, caplog: pytest.LogCaptureFixture) -> None:
    masks = np.zeros(SIZE, np.uint8)
    masks[8, 8], masks[30:50, 30:50] = 6, 7
    with caplog.at_level(logging.WARNING):
        tracker.reset("scene_003")
        tracker.init(scene({})[0], masks)
    advice = f"and not followed; set model.propagation.short_side above {tracker.propagation.short_side} for a finer"
    assert "scene_003: object 6 is too small for the grid of" in caplog.text
    assert advice in caplog.text
    caplog.clear()
    masks[8, 11] = 9
    tracker.init(scene({})[0], masks)  # another video, without a name
    assert caplog.messages[0].startswith("objects 6, 9 are too small for")


def test_wrong_use(tracker: VideoObjectTracker) -> None:
    frame, ids = scene({3: (4, 4)})
    for call in (lambda: tracker.step(frame), lambda: tracker.add(ids), tracker.scores):
        with pytest.raises(RuntimeError, match=r"call init\(frame, masks\) first"):
            call()
    with pytest.raises(ValueError, match="the masks are 32 x 96 but their frame is 64 x 96"):
        tracker.init(frame, ids[:32])
    tracker.init(frame, ids)
    with pytest.raises(TypeError, match="a frame must be"):
        tracker.step(frame.astype(float))


@pytest.mark.parametrize(("layer", "norm"), [(-1, True), (0, False)])
def test_with_an_encoder(layer: int, norm: bool) -> None:
    torch.manual_seed(0)
    encoder = PerceptionEncoder(16, 2, 2, 32, patch_size=8, grid_size=4, use_ln_post=True)
    tracker = VideoObjectTracker(EncoderFeatures(encoder, [layer], norm, trainable_blocks=0), SETTINGS)
    frame, ids = scene({3: (16, 16)})
    assert not tracker.training or tracker.init(frame, ids) is not None
    assert not tracker.training
    labels = tracker.step(frame)
    assert iou(labels, ids, 3) > 0.8
    exact = tracker.scores()
    with torch.autocast("cpu", torch.bfloat16):
        tracker.init(frame, ids)
        tracker.step(frame)
    assert tracker.scores().dtype == torch.float32
    assert (tracker.scores() - exact).abs().mean() < 0.05
    assert not any(key.startswith("_") for key in tracker.state_dict())
    with pytest.raises(ValueError, match=r"layers \[0, 1\]: masks are propagated by the features of one layer"):
        VideoObjectTracker(EncoderFeatures(encoder, [0, 1]), SETTINGS)


@pytest.mark.parametrize(("sequence", "least"), [("blackswan", 0.75), ("libby", 0.6)])
def test_real_frames(real_data, sequence: str, least: float) -> None:
    """Colours alone carry the masks over the first frames."""
    from pe_dense.data.image_io import decode_image

    class Patches(Colors):
        stride = 16

    root = real_data / "davis2016_val"
    frames = [decode_image(f) for f in sorted((root / "JPEGImages/480p" / sequence).glob("*.jpg"))[:3]]
    truth = [decode_image(root / f"Annotations/480p/{sequence}/{i:05d}.png")[..., 0] for i in range(3)]
    found = list(VideoObjectTracker(Patches(), LabelPropagation.dino()).track(frames, {0: truth[0]}))
    assert min(iou(f, t, 255) for f, t in zip(found[1:], truth[1:])) > least
