"""Drawing objects: every input that models and loaders give, at every size."""

import numpy as np
import pytest
import torch

from pe_dense.structures import Instances, RoiMasks
from pe_dense.visualization import draw_instances, palette_color
from pe_dense.visualization.canvas import DASHED
from pe_dense.visualization.instances import default_label


def two_objects(size=(80, 100), masks=None) -> Instances:
    return Instances(
        image_size=size,
        boxes=torch.tensor([[10.0, 10, 50, 60], [40, 30, 95, 75]]),
        classes=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.4]),
        masks=masks,
    )


def test_small_images_are_enlarged_and_large_ones_are_not():
    image = np.zeros((80, 100, 3), dtype=np.uint8)
    assert draw_instances(image, two_objects()).shape == (512, 640, 3)
    assert draw_instances(image, two_objects(), min_side=50).shape == image.shape
    assert not image.any()  # the input is left as it is


def test_arrays_and_tensors_give_the_same_picture():
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    expected = draw_instances(image, two_objects())
    assert np.array_equal(expected, draw_instances(tensor, two_objects()))
    assert np.array_equal(expected, draw_instances(tensor.float() / 255, two_objects()))


@pytest.mark.parametrize("factor", [1, 4])
def test_bool_masks_and_roi_masks_fill_the_same_pixels(factor):
    full = torch.zeros(2, 80, 100, dtype=torch.bool)
    full[0, 10:60, 10:50] = full[1, 30:75, 40:95] = True
    boxes = two_objects().boxes
    roi = RoiMasks(torch.ones(2, 28, 28), boxes, (80, 100))
    image = np.zeros((80, 100, 3), dtype=np.uint8)
    options = {"labels": ["", ""], "show_boxes": False, "min_side": 100 * factor}
    pictures = [draw_instances(image, two_objects(masks=m), **options) for m in (full, roi)]
    inside = [(p > 0).any(axis=2) for p in pictures]
    assert np.mean(inside[0] != inside[1]) < 0.01
    assert pictures[0][20 * factor, 20 * factor].tolist() == [round(c * 0.4) for c in palette_color(0)]


def test_threshold_names_and_colours():
    image = np.full((80, 100, 3), 255, dtype=np.uint8)
    some = draw_instances(image, two_objects(), score_threshold=0.5)
    both = draw_instances(image, two_objects())
    assert (both != 255).sum() > (some != 255).sum()
    red = draw_instances(image, two_objects(), colors=[(255, 0, 0)] * 2, labels=["", ""])
    assert (red[..., 0] == 255).all()
    solid = draw_instances(image, two_objects(), labels=["", ""])
    dashed = draw_instances(image, two_objects(), labels=["", ""], styles=[DASHED] * 2)
    assert (solid != 255).sum() > 1.2 * (dashed != 255).sum()


def test_labels_say_what_is_known():
    instances = two_objects()
    assert default_label(instances, 0, ["cat", "dog"]) == "cat 90%"
    assert default_label(instances, 1, ["cat"]) == "1 40%"  # fewer names than classes
    instances.track_ids, instances.crowd = torch.tensor([7, 8]), torch.tensor([True, False])
    assert default_label(instances, 0, ["cat", "dog"]) == "cat #7 90% (crowd)"


def test_odd_input_is_drawn_without_errors():
    names = ["猫 кот قطة", "line\nbreak \ud800"]
    draw_instances(np.zeros((80, 100, 3), np.uint8), two_objects(), names)
    draw_instances(np.zeros((1, 1, 3), np.uint8), Instances.empty((1, 1)))
    draw_instances(np.zeros((3, 900), np.uint8), Instances.empty((3, 900)))
    outside = Instances((20, 20), torch.tensor([[-50.0, -9, 400, 3], [float("nan")] * 4, [5, 5, 5, 5]]))
    outside.masks = torch.zeros(3, 20, 20, dtype=torch.bool)
    draw_instances(torch.zeros(3, 20, 20), outside, color_by="instance")


def test_errors_name_the_sizes():
    with pytest.raises(ValueError, match="image is 20 x 30 but the instances refer to 80 x 100"):
        draw_instances(np.zeros((20, 30, 3), np.uint8), two_objects())
    with pytest.raises(ValueError, match=r"shape \(4, 20, 30\)"):
        draw_instances(torch.zeros(4, 20, 30), two_objects())


def test_colours_are_distinct_and_stable():
    colors = [palette_color(i) for i in range(80)]
    assert len(set(colors)) == 80
    assert colors == [palette_color(i) for i in range(80)]
