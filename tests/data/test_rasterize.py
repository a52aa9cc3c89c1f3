"""Masks, boxes and classes of a view."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pe_dense.data.annotations import ImageAnnotations
from pe_dense.data.errors import DataError
from pe_dense.data.geometry import View
from pe_dense.data.rasterize import view_instances
from pe_dense.structures.masks import encode_rle


def _annotations(segmentations, boxes=None, crowd=None):
    count = len(segmentations)
    return ImageAnnotations(
        ids=np.arange(count) + 1,
        boxes=np.tile(np.float32([0, 0, 1000, 1000]), (count, 1)) if boxes is None else np.float32(boxes),
        classes=np.arange(count),
        crowd=np.zeros(count, dtype=bool) if crowd is None else np.array(crowd),
        segmentations=segmentations,
    )


def _star(rng, height, width):
    """Random star-shaped polygon that may leave the image."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    radii = rng.uniform(5, 60, (12, 1))
    centre = rng.uniform(0, [width, height])
    return (centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def _random_view(rng, height, width):
    view = View.whole(height, width).resize(*rng.integers(40, 300, 2).tolist())
    if rng.random() < 0.5:
        view = view.flip()
    size = [int(rng.integers(20, side + 1)) for side in view.size]
    return view.crop(*(int(rng.integers(0, side - s + 1)) for side, s in zip(view.size[::-1], size[::-1])), *size)


def test_polygons_equal_the_rasterised_whole_view():
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = 100, 140
        polygons = [_star(rng, height, width) for _ in range(rng.integers(1, 3))]
        view = _random_view(rng, height, width)
        result = view_instances(_annotations([polygons]), view)
        # the same polygons drawn with pycocotools on a canvas that nothing leaves, then cut
        mapped = [(view.points(p) + 1000).reshape(-1).tolist() for p in polygons]
        canvas = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(mapped, 2500, 2500)))
        expected = canvas[1000 : 1000 + view.size[0], 1000 : 1000 + view.size[1]].astype(bool)
        assert len(result) == expected.any()
        if len(result):
            np.testing.assert_array_equal(result.masks[0], expected)


def test_uncut_polygon_keeps_its_exact_extent():
    triangle = np.float32([[10.25, 20.5], [50.75, 22.25], [30.5, 60.125]])
    view = View.whole(100, 100).resize(200, 200)
    result = view_instances(_annotations([[triangle]]), view)
    np.testing.assert_allclose(result.boxes[0], [20.5, 41, 101.5, 120.25])


def test_boxes_are_recomputed_from_what_is_left():
    ell = np.float32([[10, 10], [90, 10], [90, 20], [20, 20], [20, 90], [10, 90]])
    result = view_instances(_annotations([[ell]]), View.whole(100, 100).crop(0, 30, 70, 100))
    np.testing.assert_allclose(result.boxes[0], [10, 0, 20, 60], atol=0.01)
    assert result.masks.shape == (1, 70, 100)
    assert result.masks.sum() == 600


def test_rle_follows_the_view():
    rng = np.random.default_rng(1)
    for _ in range(60):
        star = _star(rng, 100, 140)
        fine = coco_mask.decode(coco_mask.frPyObjects([star.reshape(-1).tolist()], 100, 140)[0])
        view = _random_view(rng, 100, 140)
        rle = encode_rle(fine)
        result = view_instances(_annotations([rle]), view)
        shown = view.image(np.repeat(np.ascontiguousarray(fine)[..., None] * np.uint8(255), 3, axis=2))[..., 0] >= 128
        found = result.masks[0].numpy() if len(result) else np.zeros(view.size, dtype=bool)
        edge = max(view.scale)  # a difference of one source pixel along the outline is resampling, not misplacement
        perimeter = np.abs(np.diff(shown.astype(int), axis=0)).sum() + np.abs(np.diff(shown.astype(int), axis=1)).sum()
        assert (found != shown).sum() <= 0.35 * perimeter * max(1, edge) + 2
        if len(result):
            ys, xs = np.nonzero(found)
            np.testing.assert_array_equal(result.boxes[0], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_rle_identity_and_whole_factor_are_exact(mirrored):
    mask = np.random.default_rng(0).random((30, 40)) < 0.4
    view = View.whole(30, 40)
    expected = mask
    if mirrored:
        view, expected = view.flip(), mask[:, ::-1]
    np.testing.assert_array_equal(view_instances(_annotations([encode_rle(mask)]), view).masks[0], expected)
    blocks = np.kron(expected[::5, ::5], np.ones((5, 5), dtype=bool))
    source = np.kron(mask[::5, ::5], np.ones((5, 5), dtype=bool)) if not mirrored else blocks[:, ::-1]
    doubled = view_instances(_annotations([encode_rle(source)]), view.resize(60, 80)).masks[0].numpy()
    assert (doubled != np.kron(blocks, np.ones((2, 2), dtype=bool))).mean() < 0.03


def test_vanished_objects_are_dropped():
    here, there = np.float32([[5, 5], [15, 5], [15, 15], [5, 15]]), np.float32([[80, 80], [95, 80], [95, 95]])
    result = view_instances(_annotations([[there], [here], [there]]), View.whole(100, 100).crop(0, 0, 50, 50))
    assert result.classes.tolist() == [1]
    assert result.masks.shape == (1, 50, 50)
    nothing = view_instances(_annotations([[there]]), View.whole(100, 100).crop(0, 0, 50, 50))
    assert len(nothing) == 0
    assert nothing.boxes.shape == (0, 4)
    assert nothing.masks.shape == (0, 50, 50)


def test_boxes_only():
    boxes = [[10, 10, 60, 60], [49.5, 0, 90, 90], [70, 70, 90, 90]]
    view = View.whole(100, 100).crop(0, 0, 50, 50)
    result = view_instances(_annotations([None] * 3, boxes), view, masks=False)
    np.testing.assert_allclose(result.boxes, [[10, 10, 50, 50]])  # less than a pixel of the second is visible
    assert result.masks is None


def test_crowds_are_for_drawing_only():
    square = np.float32([[5, 5], [15, 5], [15, 15], [5, 15]])
    annotations = _annotations([[square], [square]], crowd=[True, False])
    view = View.whole(20, 20)
    assert view_instances(annotations, view).classes.tolist() == [1]
    assert view_instances(annotations, view, keep_crowd=True).crowd.tolist() == [True, False]


def test_masks_cover_the_padding():
    square = np.float32([[5, 5], [15, 5], [15, 15], [5, 15]])
    result = view_instances(_annotations([[square]]), View.whole(20, 20).pad(32, 32))
    assert result.image_size == (32, 32)
    assert result.masks.shape == (1, 32, 32)
    assert result.masks.sum() == 100


def test_rle_of_another_size_is_named():
    rle = encode_rle(np.ones((10, 10), dtype=bool))
    with pytest.raises(DataError, match=r"annotation id 1 .* size \[10, 10\] but its image is \[20, 20\]"):
        view_instances(_annotations([rle]), View.whole(20, 20))


def test_missing_mask_is_named():
    with pytest.raises(DataError, match=r"annotation id 1 has no mask"):
        view_instances(_annotations([None]), View.whole(20, 20))


def test_rotation_turns_polygons_and_bitmaps_alike():
    rng = np.random.default_rng(0)
    for degrees in (-8, 3, 20):
        polygon = _star(rng, 100, 140)
        bitmap = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon.reshape(-1).tolist()], 100, 140)))
        view = View.whole(100, 140).crop(10, 5, 90, 120).flip().rotate(degrees).resize(180, 240).crop(20, 10, 150, 200)
        found = [view_instances(_annotations([s]), view) for s in ([polygon], encode_rle(bitmap.astype(bool)))]
        shown = view.labels(bitmap, fill=0).astype(bool)
        for result in found:
            # the object's cut edge differs: an object goes on outside of the turned rectangle, pixels do not
            assert (result.masks[0].numpy() & ~shown).sum() <= 0.1 * shown.sum()
            assert (shown & ~result.masks[0].numpy()).sum() <= 0.03 * shown.sum()
