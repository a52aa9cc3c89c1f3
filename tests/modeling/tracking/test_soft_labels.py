"""Soft labels: made from masks, corrected, and turned into labels of pixels."""

import numpy as np
import torch

from pe_dense.modeling.tracking import LabelPropagation
from pe_dense.modeling.tracking.soft_labels import hard_labels, insert_masks, one_hot

DINO = LabelPropagation.dino()


def labels(soft, **change):
    return hard_labels(torch.tensor(soft), (32, 32), (32, 32), LabelPropagation(**change))


def test_constant_channels():
    """DINO's script gives NaN there, which wins everywhere."""
    everywhere = [[[0.0, 1.0]] * 2] * 2  # one object covers the frame
    assert labels(everywhere).unique().tolist() == [1]
    assert labels([[[1.0, 0.0]] * 2] * 2).unique().tolist() == [0]
    assert labels([[[1.0]] * 2] * 2).unique().tolist() == [0]  # no objects at all
    rounding = torch.ones(2, 2, 2) - 1e-7 * torch.tensor([[[1.0, 0], [1, 1]], [[1, 2], [1, 0]]])
    rounding[..., 0] = 0
    assert labels(rounding.tolist()).unique().tolist() == [1]
    faint = torch.full((2, 2, 2), 0.25)
    faint[0, 0] = torch.tensor([0.0, 0.25])  # the object's channel is constant, the background's stretched to 0..1
    assert labels(faint.tolist())[-1, -1] == 0
    assert labels(faint.tolist())[0, 0] == 1


def test_traces_of_an_object_that_is_gone():
    soft = torch.zeros(4, 4, 2)
    soft[..., 0] = 1
    soft[:2] = torch.tensor([0.8, 0.0])
    soft[0, 0] = torch.tensor([0.7, 0.1])
    assert labels(soft.tolist()).unique().tolist() == [0, 1]  # the protocols' rule
    assert labels(soft.tolist(), min_score=0.3).unique().tolist() == [0]


def test_at_the_inputs_or_at_the_frames_size():
    soft = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(0))
    coarse, fine = (hard_labels(soft, (48, 64), (101, 77), LabelPropagation(argmax=a)) for a in ("input", "frame"))
    assert coarse.shape == fine.shape == (101, 77)
    assert 0 < (coarse != fine).float().mean() < 0.1


def test_one_hot_and_correction():
    masks = torch.zeros(8, 8, dtype=torch.int64)
    masks[:, 4:] = 9
    masks[4:, :4] = 3
    soft = one_hot(masks, [3, 9], (2, 2))
    assert soft.argmax(-1).tolist() == [[0, 2], [1, 2]]
    assert one_hot(masks, [], (2, 2)).tolist() == [[[1.0]] * 2] * 2
    seen = torch.tensor([[[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]], [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]])
    given = torch.zeros(2, 2, 3)
    given[1, 0, 2] = 1  # object 2 is only here
    np.testing.assert_allclose(
        insert_masks(seen, given, [2]), [[[0.4, 0.6, 0], [0, 1, 0]], [[0, 0, 1], [1, 0, 0]]], atol=1e-6
    )
