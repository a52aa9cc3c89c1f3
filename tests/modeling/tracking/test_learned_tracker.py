"""A tracker that learns: its loss is that of its clips, it improves, and it tracks sample by sample like any."""

from typing import Any

import numpy as np
import pytest
import torch

from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.modeling.tracking import (
    LabelPropagation,
    LearnedTracker,
    ProjectedFeatures,
    PropagationLoss,
    TokenProjection,
    normalized_tokens,
)
from pe_dense.modeling.tracking.frame_input import resize_nearest

SETTINGS = LabelPropagation(short_side=32, long_multiple=0, radius=3)


@pytest.fixture
def tracker() -> LearnedTracker:
    torch.manual_seed(0)
    tower = PerceptionEncoder(24, depth=1, num_heads=2, mlp_dim=48, patch_size=4, grid_size=8)
    return LearnedTracker(ProjectedFeatures(tower, TokenProjection(24, 48)), SETTINGS, PropagationLoss())


def sample(clip: int, left: int, size: tuple[int, int] = (34, 41), seed: int = 0) -> dict[str, Any]:
    """A bright square on noise, and its mask; a stripe at the bottom is void."""
    rng = np.random.default_rng((clip, left, seed))
    image = rng.integers(0, 120, (3, *size), dtype=np.uint8)
    ids = np.zeros(size, np.uint8)
    ids[8:20, left : left + 12] = 5
    image[:, ids == 5] += 100
    ids[-6:] = 255
    return {
        "image": torch.from_numpy(image),
        "object_ids": torch.from_numpy(ids),
        "clip": clip,
        "file_name": f"{clip}.{left}",
    }


def test_loss_of_clips_of_different_sizes(tracker: LearnedTracker) -> None:
    """Each frame is compared with the first of its clip, on the whole patches that it has."""
    batch = [sample(0, 4), sample(0, 8), sample(0, 12), sample(1, 3, (28, 50)), sample(1, 6, (28, 50))]
    torch.nn.init.normal_(tracker.backbone.projection.out.weight, std=0.1)
    losses = tracker.train()(batch)
    expected = []
    for reference, target in ((0, 1), (0, 2), (3, 4)):
        tokens, labels = [], []
        for frame in (batch[target], batch[reference]):
            height, width = (side // 4 * 4 for side in frame["image"].shape[1:])
            pixels = (frame["image"][None, :, :height, :width].float() - 127.5) / 127.5
            padded = torch.zeros(1, 3, 32, 48)  # of the batch
            padded[:, :, :height, :width] = pixels
            features = tracker.backbone(padded)[0].map[0]
            tokens.append(normalized_tokens(features[:, : height // 4, : width // 4]))
            labels.append(resize_nearest(frame["object_ids"][:height, :width], (height // 4, width // 4)).long())
        found, counts = PropagationLoss()(*tokens, *labels, SETTINGS)
        expected.append(found[counts])
    assert list(losses) == ["loss_propagation"]
    torch.testing.assert_close(losses["loss_propagation"], torch.cat(expected).mean())
    assert [len(part) < 80 for part in expected] == [True, True, True]  # without the void ones


def test_training_lowers_the_loss(tracker: LearnedTracker) -> None:
    tracker.train()
    batch = [sample(0, 4), sample(0, 8), sample(1, 12), sample(1, 16)]
    optimizer = torch.optim.Adam([p for p in tracker.parameters() if p.requires_grad], lr=1e-2)
    values = []
    for _ in range(25):
        loss = tracker(batch)["loss_propagation"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


def test_samples_are_tracked_video_by_video(tracker: LearnedTracker) -> None:
    videos = [[sample(clip, left) for left in (4, 6, 8)] for clip in range(2)]
    expected = []
    for video in videos:
        for frame in video:
            frame["object_ids"][frame["object_ids"] == 255] = 0
        frames = [frame["image"].permute(1, 2, 0).numpy() for frame in video]
        expected += list(tracker.track(frames, {0: video[0]["object_ids"].numpy()}))
        video[0]["begins"] = True
        for frame in video[1:]:
            del frame["object_ids"]
    tracker.eval()
    found = [one["labels"] for one in tracker([*videos[0], videos[1][0]])] + [
        one["labels"] for one in tracker(videos[1][1:])
    ]
    assert len(found) == 6
    for ours, theirs in zip(found, expected):
        assert np.array_equal(ours, theirs)
    assert (found[1] == 5).any()


def test_bad_samples(tracker: LearnedTracker) -> None:
    tracker.train()
    with pytest.raises(ValueError, match=r"1\.4: its clip has no second frame here: make train.accumulate"):
        tracker([sample(0, 4), sample(0, 8), sample(1, 4)])
    with pytest.raises(ValueError, match=r"0\.8 and 0\.4: the frames of a clip must have the same size"):
        tracker([sample(0, 4), sample(0, 8, (34, 60))])
    with pytest.raises(ValueError, match=r"0\.8: training needs 'object_ids'"):
        tracker([sample(0, 4), {k: v for k, v in sample(0, 8).items() if k != "object_ids"}])
    tiny = {"image": torch.zeros(3, 3, 9, dtype=torch.uint8), "object_ids": torch.zeros(3, 9), "file_name": "a.png"}
    with pytest.raises(ValueError, match=r"a\.png: the frame is smaller than a patch of 4 pixels"):
        tracker([tiny, tiny])
    tracker.eval()
    with pytest.raises(ValueError, match=r"0\.4: the masks are 5 x 5"):
        tracker([{**sample(0, 4), "object_ids": torch.ones(5, 5, dtype=torch.uint8), "begins": True}])
