"""Batches as one block of memory."""

import pickle

import pytest
import torch

from pe_dense.data.packing import PackedBatch
from pe_dense.structures import Instances


@pytest.mark.parametrize("shared", [False, True])
def test_round_trip(shared):
    instances = Instances((6, 7), torch.rand(3, 4), torch.arange(3), masks=torch.rand(3, 6, 7) > 0.5)
    batch = [
        {"image": torch.randint(0, 255, (3, 5, 9), dtype=torch.uint8), "name": "a", "instances": instances},
        {"image": torch.rand(9, 5).t(), "empty": torch.zeros(0, 4), "scalar": torch.tensor(2.5), "name": "b"},
    ]
    packed = PackedBatch(batch, shared=shared)
    if not shared:
        packed = pickle.loads(pickle.dumps(packed))
    first, second = packed.unpack()
    assert (first["name"], second["name"]) == ("a", "b")
    assert torch.equal(first["image"], batch[0]["image"])
    assert first["instances"].image_size == (6, 7)
    assert first["instances"].masks.dtype == torch.bool
    for field in ("boxes", "classes", "masks"):
        assert torch.equal(getattr(first["instances"], field), getattr(instances, field))
    for key in ("image", "empty", "scalar"):
        assert second[key].shape == batch[1][key].shape
        assert torch.equal(second[key], batch[1][key])


def test_without_tensors():
    assert PackedBatch(ValueError("text"), shared=True).unpack().args == ("text",)
