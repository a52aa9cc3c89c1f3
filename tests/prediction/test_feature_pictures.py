import cv2
import numpy as np
import pytest
import torch

from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.prediction import EncoderView, FeatureDrawing, VideoReader, visualize_features
from pe_dense.prediction.feature_painters import PcaPainter, Seen, SimilarityPainter, cell_at

from .conftest import write_image

KINDS = ("pca", "similarity", "clusters", "attention")


@pytest.fixture
def view():
    torch.manual_seed(0)
    return EncoderView(PerceptionEncoder(32, 3, 2, 64, patch_size=8, grid_size=4), device="cpu")


@pytest.fixture
def photos(tmp_path):
    return [write_image(tmp_path / "photos" / f"{name}.png", left) for name, left in (("a", 5), ("b", 30), ("c", 50))]


def test_sheets_and_page(view, photos, tmp_path, caplog):
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"bad")
    drawing = FeatureDrawing(KINDS, [0, -1], page=True, cell=64)
    out = tmp_path / "out"
    written = visualize_features(view, [tmp_path / "photos"], out, drawing)
    assert [path.name for path in written] == [*(f"{kind}.png" for kind in KINDS), "features.html"]
    assert "bad.jpg cannot be decoded" in caplog.text
    sheets = [cv2.imread(str(path)) for path in written[:4]]
    assert len({sheet.shape for sheet in sheets}) == 1
    assert sheets[0].shape[1] > 3 * 64  # the image and two layers
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in visualize_features(view, [tmp_path / "photos"], out, drawing)] == [
        path.read_bytes() for path in written
    ]
    assert before == [path.read_bytes() for path in written]


def test_video(view, tmp_path, write_video):
    video = write_video(tmp_path / "clip.mp4")
    drawing = FeatureDrawing(["pca", "attention"], [1], every=2, cell=48)
    written = visualize_features(view, [video], tmp_path / "out", drawing)
    assert [path.name.split(".")[0] for path in written] == ["clip_pca", "clip_attention"]
    for path in written:
        with VideoReader(path) as reader:
            assert len(list(reader)) == 5
            assert reader.size[1] > 2 * 48


def seen(view, seed, foreground=None):
    picture = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    return Seen(str(seed), picture, view.features(picture, [0, 2]), foreground)


def test_colours_of_a_set_and_of_each_image(view):
    images = [seen(view, 0), seen(view, 1)]
    common, own, other = PcaPainter("set"), PcaPainter("image"), PcaPainter("set")
    for painter in (common, own):
        painter.fit(images)
    other.fit(images[:1])
    assert not np.array_equal(common.paint(images[0], 0), own.paint(images[0], 0))
    assert np.array_equal(other.paint(images[0], 1), own.paint(images[0], 1))
    assert common.paint(images[0], 0).shape == (32, 48, 3)


def test_masks_leave_the_background_black(view, photos, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for photo in photos:
        mask = np.zeros((48, 64), np.uint8)
        mask[:, 32:] = 255
        cv2.imwrite(str(masks / photo.name), mask)
    drawing = FeatureDrawing(masks=masks, cell=64)
    [path] = visualize_features(view, photos[:1], tmp_path / "out", drawing)
    sheet = cv2.imread(str(path)).astype(int)
    cell = sheet[-54:-6, -70:-6]
    assert cell[:, :28].max() < 5
    assert cell[:, 36:].max() > 40
    (masks / photos[1].name).unlink()
    with pytest.raises(FileNotFoundError, match=r"masks/b\.png does not exist"):
        visualize_features(view, photos, tmp_path / "out", drawing)


def test_similarity_is_to_the_point_of_the_first_image(view):
    first, second = seen(view, 0), seen(view, 1)
    painter = SimilarityPainter((0.9, 0.1))
    painter.fit([first, second])
    assert cell_at(first.features[0], (0.9, 0.1)) == (0, 5)
    assert cell_at(first.features[0], (1.0, 1.0)) == (3, 5)
    assert torch.equal(painter.vectors[1], first.features[1][:, 0, 5])
    marked, plain = painter.paint(first, 0), painter.paint(second, 0)
    assert (marked == 255).all(axis=2).any()
    assert not (plain == 255).all(axis=2).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [5]}, r"layer 5: the encoder has blocks 0\.\.2"),
        ({"point": (64, 3)}, "point 64, 3 lies outside the first image, which is 64 x 48"),
        ({"kinds": ["attention"], "head": 2}, r"head 2: the encoder has heads 0\.\.1"),
        ({"kinds": ["attention"], "cls_attention": True}, "no class token"),
        ({"kinds": ["clusters"], "clusters": 0}, "clusters must be at least 1"),
    ],
)
def test_settings_that_cannot_be(view, photos, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        visualize_features(view, photos, tmp_path / "out", FeatureDrawing(**options))


def test_inputs_are_not_overwritten_or_mixed_with_pictures(view, photos, tmp_path):
    with pytest.raises(ValueError, match="holds inputs"):
        visualize_features(view, photos, tmp_path / "photos", FeatureDrawing())
