"""One map for pixels and coordinates."""

import cv2
import numpy as np
import pytest

from pe_dense.data.geometry import View

CHAINS = {
    "flip": lambda v: v.flip(),
    "shrink": lambda v: v.resize(61, 83),
    "enlarge": lambda v: v.resize(300, 410),
    "crop": lambda v: v.crop(13, 20, 70, 90),
    "crop of a flip": lambda v: v.flip().crop(13, 20, 70, 90),
    "resize, flip, crop": lambda v: v.resize(333, 412).flip().crop(101, 57, 190, 222),
    "crop, flip, resize, crop, flip": lambda v: v.crop(20, 0, 110, 130).flip().resize(65, 90).crop(3, 4, 60, 80).flip(),
    "uneven": lambda v: v.resize(60, 500).flip().crop(100, 0, 60, 300),
    "pad": lambda v: v.resize(90, 120).pad(128, 128),
    "rotation": lambda v: v.rotate(9),
    "crop, flip, rotation, resize, crop": lambda v: (
        v.crop(20, 5, 110, 130).flip().rotate(-7).resize(165, 195).crop(9, 8, 120, 150)
    ),
}


def _dots(height, width, centres, radius=5):
    """White discs on black, and their centres with pixel centres at +0.5."""
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for cx, cy in centres:
        image[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = 255
    return image


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_points_follow_the_pixels(chain):
    centres = np.array([[70, 45], [95.5, 80], [65, 75]])
    view = chain(View.whole(120, 160))
    for centre in centres:
        image = view.image(_dots(120, 160, [centre]))
        assert image.shape[:2] == view.output_size
        weights = image[..., 0].astype(float)
        x, y = view.points(centre)
        assert 0 < x < view.size[1]
        assert 0 < y < view.size[0]
        ys, xs = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
        found = np.array([(xs * weights).sum(), (ys * weights).sum()]) / weights.sum()
        np.testing.assert_allclose(found, [x, y], atol=0.15 * max(1, *view.scale))


def test_chain_resamples_only_what_is_needed():
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    view = View.whole(120, 160).resize(240, 320).crop(40, 60, 100, 120)
    np.testing.assert_array_equal(view.image(image), cv2.resize(image[30:80, 20:80], (120, 100)))
    same = View.whole(120, 160).resize(50, 50).resize(120, 160).flip().flip()
    np.testing.assert_array_equal(same.image(image), image)


def test_shrinking_averages():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    shown = View.whole(64, 64).resize(16, 16).image(stripes)
    assert np.abs(shown.astype(int) - 100).max() <= 1


def test_padding_is_zero_at_the_bottom_and_right():
    image = np.full((10, 20, 3), 9, dtype=np.uint8)
    shown = View.whole(10, 20).flip().pad(16, 16).image(image)
    assert shown.shape == (16, 20, 3)
    assert (shown[:10] == 9).all()
    assert (shown[10:] == 0).all()


def test_boxes_are_mapped_and_clipped():
    view = View.whole(100, 100).resize(200, 200).flip().crop(0, 0, 100, 100)  # the source's top right quarter
    boxes = np.array([[60, 10, 70, 20], [40, 40, 60, 60], [0, 0, 10, 10]], dtype=np.float32)
    np.testing.assert_allclose(view.boxes(boxes), [[60, 20, 80, 40], [80, 80, 100, 100], [100, 0, 100, 20]])
    assert view.boxes(boxes[:0]).shape == (0, 4)


def test_crop_snaps_to_whole_source_pixels():
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(1, 50, 2).tolist()
        view = View.whole(height, width).resize(*rng.integers(1, 200, 2).tolist())
        if rng.random() < 0.5:
            view = view.flip()
        size = [int(rng.integers(1, side + 1)) for side in view.size]
        top, left = (int(rng.integers(0, side - s + 1)) for side, s in zip(view.size, size))
        cropped = view.crop(left, top, *size)
        assert 0 <= cropped.left < cropped.right <= width
        assert 0 <= cropped.top < cropped.bottom <= height
        assert cropped.image(np.zeros((height, width, 3), dtype=np.uint8)).shape == (*size, 3)
        wanted = left / view.scale[1] if not view.mirrored else (view.size[1] - left - size[1]) / view.scale[1]
        assert abs(cropped.left - wanted) <= 1


def test_labels_are_chosen_not_mixed():
    source = np.arange(120 * 160, dtype=np.float32).reshape(120, 160) + 1
    for chain in CHAINS.values():
        view = chain(View.whole(120, 160))
        shown = view.labels(source, fill=0)
        assert shown.shape == view.output_size
        assert shown.dtype == np.float32
        assert np.isin(shown, [0, *source.ravel()]).all()
        rows, columns = np.nonzero(shown)
        values = shown[rows, columns].astype(int) - 1
        expected = view.points(np.stack([values % 160, values // 160], axis=1) + 0.5)
        # each pixel shows a source pixel at most half a pixel away, and one source pixel after a rotation
        reach = (0.51 if view.rotation is None else 1.2) * max(1.0, *view.scale) + 0.01
        assert np.abs(expected - np.stack([columns, rows], axis=1) - 0.5).max() <= reach


def test_sparse_depth_keeps_its_values_and_its_share():
    rng = np.random.default_rng(0)
    depth = np.where(rng.random((120, 160)) < 0.2, rng.uniform(1, 80, (120, 160)), 0).astype(np.float32)
    for chain in CHAINS.values():
        view = chain(View.whole(120, 160))
        shown = view.labels(depth, fill=0)[: view.size[0], : view.size[1]]
        assert np.isin(shown, np.append(depth, 0)).all()
        assert (shown > 0).mean() == pytest.approx(0.2, abs=0.06)


def test_rotation_is_about_the_centre_and_knows_nothing_outside():
    y, x = np.mgrid[:101, :101]
    wedge = ((x > 50) & (abs(y - 50) < 3)).astype(np.uint8)  # a bar from the centre to the right
    turned = View.whole(101, 101).rotate(90).labels(wedge, fill=255)
    np.testing.assert_array_equal(turned, ((y < 50) & (abs(x - 50) < 3)).astype(np.uint8))  # now it points up
    mirrored = View.whole(101, 101).flip().rotate(90).labels(wedge, fill=255)
    np.testing.assert_array_equal(mirrored, ((y > 50) & (abs(x - 50) < 3)).astype(np.uint8))
    white = np.full((60, 100, 3), 200, dtype=np.uint8)
    labels = np.full((60, 100), 7, dtype=np.uint8)
    view = View.whole(60, 100).crop(10, 10, 40, 80).rotate(2.5)
    shown, classes = view.image(white), view.labels(labels, fill=255)
    assert set(np.unique(classes)) == {7, 255}
    assert 0 < (classes == 255).mean() < 0.1
    assert shown[classes == 255].mean() < 110  # black, except for the edge
    assert (shown[classes == 7] >= 90).all()


def test_a_view_turns_once():
    with pytest.raises(ValueError, match="turns only once"):
        View.whole(10, 10).rotate(1).rotate(1)


def test_boxes_of_a_rotation_enclose_the_object():
    boxes = View.whole(100, 100).rotate(45).boxes(np.array([[40, 40, 60, 60]], dtype=np.float32))
    np.testing.assert_allclose(boxes, [[50 - 200**0.5, 50 - 200**0.5, 50 + 200**0.5, 50 + 200**0.5]])
