import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms, box_iou

from pe_dense.layers.soft_nms import soft_nms

OPTIONS = {
    "quad05": {"decay": "quad", "quad_scale": 0.5},
    "quad04": {"decay": "quad", "quad_scale": 0.4},
    "linear": {"decay": "linear"},
    "gaussian": {"decay": "gaussian"},
    "hard": {"decay": "hard"},
}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_reference(fixtures, name):
    with np.load(fixtures / "pe" / "ops_d1.npz") as file:
        given = {key: torch.from_numpy(file[key]) for key in file.files if key.startswith("snms.")}
    inputs = (given["snms.boxes"], given["snms.scores"], given["snms.labels"])
    keep, scores = soft_nms(*inputs, iou_threshold=0.5, **OPTIONS[name])
    assert torch.equal(keep, given[f"snms.{name}.keep"])
    torch.testing.assert_close(scores, given[f"snms.{name}.scores"], atol=1e-4, rtol=0)


def one_by_one(boxes, scores, groups, threshold, quad_scale):
    """The same as a loop over the boxes."""
    scores, kept = scores.clone(), []
    left = torch.arange(len(boxes))
    while len(left):
        best = left[scores[left].argmax()]
        if scores[best] <= 0.001:
            break
        kept.append(best)
        left = left[left != best]
        iou = box_iou(boxes[best][None], boxes[left])[0] * (groups[left] == groups[best])
        scores[left] = torch.where(iou > threshold, scores[left] * (1 - iou) ** quad_scale, scores[left])
    return torch.stack(kept), scores[torch.stack(kept)]


@pytest.mark.parametrize("spread", [3.0, 40.0])
def test_clusters_of_many_sizes(spread):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=generator, dtype=torch.float64) * spread
    boxes = torch.cat([corner, corner + 10 + torch.rand(300, 2, generator=generator, dtype=torch.float64)], dim=1)
    scores = torch.rand(300, generator=generator, dtype=torch.float64)
    groups = torch.randint(0, 3, (300,), generator=generator)
    expected = one_by_one(boxes, scores, groups, 0.7, 0.5)
    found = soft_nms(boxes, scores, groups)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    hard = soft_nms(boxes, scores, groups, decay="hard")[0]
    assert torch.equal(hard, batched_nms(boxes, scores, groups, 0.7))


def test_nothing_and_no_area():
    keep, scores = soft_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())
    assert len(keep) == len(scores) == 0
    keep, scores = soft_nms(torch.zeros(3, 4), torch.tensor([0.2, 0.9, 0.0]), torch.zeros(3).long())
    assert keep.tolist() == [1, 0]
    assert scores.tolist() == pytest.approx([0.9, 0.2])
