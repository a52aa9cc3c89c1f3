"""What the tests of all formats start from and compare."""

import torch

from pe_dense.structures import Categories

CATEGORIES = Categories((3, 7, 9), ("cat", "dog", "red bus"))
SIZE = (20, 30)


def same(a, b):
    assert a.image_size == b.image_size
    assert a._rows().keys() == b._rows().keys()
    for name, value in a._rows().items():
        assert torch.equal(value, getattr(b, name)), name
        assert value.dtype == getattr(b, name).dtype, name
