import json

import pytest
import torch

from pe_dense.modeling.segmentation import SegInference, window_grid
from pe_dense.modeling.segmentation.inference import needed_rows, resized, strips


def test_windows_and_short_sides_of_the_official_code(fixtures):
    expected = json.loads((fixtures / "segmentation" / "expected.json").read_text())
    for name, windows in expected["windows"].items():
        size, crop, stride = name.split("_")
        height, width = map(int, size.split("x"))
        found = window_grid(height, width, int(crop.removeprefix("crop")), int(stride.removeprefix("stride")))
        assert [list(w) for w in found] == windows, name
    for name, size in expected["short_side_resize"].items():
        given, target = name.split("_to")
        assert list(SegInference(short_side=int(target)).size(*map(int, given.split("x")))) == size, name


def test_stages_hold_one_scale_and_with_several_copies_one_image():
    sizes = [(64, 96), (64, 64), (40, 64)]
    [stage] = SegInference(crop=64, stride=32, batch_size=2).stages(sizes)
    assert [len(views) for views in stage.batches] == [2, 1, 1]  # 64 x 64 of two images, then 40 x 64
    assert [v.image for views in stage.batches for v in views] == [0, 0, 1, 2]
    settings = SegInference(crop=64, stride=32, scales=[1, 2], flip=True)
    stages = settings.stages(sizes)
    assert [set(stage.sizes) for stage in stages] == [{0}, {0}, {1}, {1}, {2}, {2}]
    assert stages[1].sizes == {0: (128, 192)}
    assert {v.flipped for views in stages[0].batches for v in views} == {False, True}
    assert settings.copies == 4


@pytest.mark.parametrize(("source", "target"), [(7, 19), (19, 7), (5, 5), (1, 9), (300, 299)])
def test_needed_rows_are_enough_and_few(source, target):
    full = torch.nn.functional.interpolate(torch.eye(source)[None], target, mode="linear")[0]
    for start in range(target):
        stop = min(start + 3, target)
        used = full[:, start:stop].sum(1).nonzero().flatten().tolist()
        first, last = needed_rows(start, stop, source, target)
        assert first <= min(used)
        assert last > max(used)
        assert last - first <= max(used) - min(used) + 3


def test_strips_cover_all_rows():
    assert list(strips(10, 100, limit=350)) == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert list(strips(2, 10**9)) == [(0, 1), (1, 2)]


def test_resized_keeps_pixels_that_fit_and_averages_where_it_shrinks():
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    assert resized(image, (8, 8)) is image
    stripes = torch.tensor([0, 255] * 16, dtype=torch.uint8).expand(3, 32, 32)
    assert (resized(stripes, (4, 4)) - 127.5).abs().max() < 20


def test_settings_that_make_no_sense():
    for options, message in (
        ({"crop": 0}, r"SegInference\.crop must be at least 1, it is 0"),
        ({"stride": 20}, "stride is 20 but crop is None"),
        ({"crop": 10, "stride": 20}, "stride is 20 but crop is 10"),
        ({"scales": []}, "scales"),
        ({"scales": [1, 0]}, "all above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            SegInference(**options)
