"""Several layers that follow the same objects: each finds what a tracker on it alone finds."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from pe_dense.modeling.backbone import EncoderFeatures, PerceptionEncoder
from pe_dense.modeling.tracking import LabelPropagation, TrackerProbe, VideoObjectTracker

SETTINGS = LabelPropagation(short_side=48, long_multiple=0, radius=3, queue=3)


@pytest.fixture
def encoder() -> PerceptionEncoder:
    torch.manual_seed(0)
    return PerceptionEncoder(embed_dim=32, depth=3, num_heads=2, mlp_dim=64, patch_size=8, grid_size=6)


def tracker(encoder: PerceptionEncoder, layer: int = -1) -> VideoObjectTracker:
    return VideoObjectTracker(EncoderFeatures(encoder, [layer]), SETTINGS, (120, 130, 140), (60, 50, 40))


def video(count: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Frames of noise that resemble each other, masks of their first, and of another object in a later one."""
    rng = np.random.default_rng(0)
    still = rng.integers(0, 200, (48, 64, 3))
    frames = [(np.roll(still, 2 * i, 1) + rng.integers(0, 56, still.shape)).astype(np.uint8) for i in range(count)]
    first, later = np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8)
    first[8:32, 8:24], first[20:40, 40:60], later[:16, 30:50] = 2, 5, 7
    return frames, first, later


def test_each_layer_finds_what_its_tracker_finds(encoder: PerceptionEncoder) -> None:
    frames, first, later = video(7)
    probe = TrackerProbe(tracker(encoder), [-1, 0])
    assert probe.layers == [0, 2]
    assert probe.is_empty
    expected = {}
    for layer in probe.layers:
        alone = tracker(encoder, layer)
        expected[layer] = list(alone.track(frames, {0: first, 4: later}))
    seen: list[tuple[int, ...]] = []
    encoder.conv1.register_forward_hook(lambda *args: seen.append(tuple(args[2].shape)))
    found = [probe.init(frames[0], first)]
    for i, frame in enumerate(frames[1:], 1):
        labels = probe.step(frame)
        found.append(probe.add(later) if i == 4 else labels)
    assert len(seen) == len(frames)  # all layers share one pass
    for layer in probe.layers:
        assert all(np.array_equal(labels[layer], other) for labels, other in zip(found, expected[layer], strict=True))
    assert not np.array_equal(found[-1][0], found[-1][2])
    assert probe.object_ids == [2, 5, 7]
    probe.reset()
    assert probe.is_empty


def test_memory_does_not_grow_with_the_video(encoder: PerceptionEncoder) -> None:
    frames, first, _ = video(3)
    probe = TrackerProbe(tracker(encoder))
    probe.init(frames[0], first)
    for i in range(12):
        probe.step(frames[i % 3])
    assert [(len(memory.given), len(memory.recent)) for memory in probe._memories] == [(1, 3)] * 3


def test_one_warning_for_all_layers(encoder: PerceptionEncoder, caplog: pytest.LogCaptureFixture) -> None:
    frames, first, _ = video(1)
    first[0, 63] = 9
    with caplog.at_level(logging.WARNING, "pe_dense"):
        TrackerProbe(tracker(encoder)).init(frames[0], first)
    [record] = caplog.records
    assert "object 9 is too small for the grid of" in record.getMessage()


def test_only_the_encoder_has_weights(encoder: PerceptionEncoder) -> None:
    probe = TrackerProbe(tracker(encoder), [1])
    assert {name.split(".")[1] for name in probe.state_dict()} == {"backbone"}
    assert not any(p.requires_grad for p in probe.parameters())


def test_refusals(encoder: PerceptionEncoder) -> None:
    with pytest.raises(ValueError, match=r"layers \[3\]: the encoder has blocks 0..2 \(-1 is the last\), 3 is none"):
        TrackerProbe(tracker(encoder), [3])
    colors = nn.AvgPool2d(4)
    colors.stride = 4
    with pytest.raises(ValueError, match="backbone is a AvgPool2d: use EncoderFeatures"):
        TrackerProbe(VideoObjectTracker(colors, SETTINGS))
    frames, first, _ = video(2)
    probe = TrackerProbe(tracker(encoder))
    for call in (lambda: probe.step(frames[0]), lambda: probe.add(first)):
        with pytest.raises(RuntimeError, match=r"call init\(frame, masks\) first"):
            call()
    probe.init(frames[0], first)
    with pytest.raises(ValueError, match="a frame of 48 x 48 follows one of 48 x 64"):
        probe.step(frames[1][:, :48])
