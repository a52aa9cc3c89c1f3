"""Mean colours of patches."""

import pytest
import torch

from pe_dense.modeling.tracking import ColorFeatures


def test_mean_colours_and_a_constant() -> None:
    images = torch.randn(2, 3, 8, 12)
    found = ColorFeatures(4)(images)[0].map
    assert found.shape == (2, 4, 2, 3)
    torch.testing.assert_close(found[1, 2, 1, 0], images[1, 2, 4:8, :4].mean())
    assert (found[:, 3] == 1).all()
    with pytest.raises(ValueError, match="patch_size must be at least 1, it is 0"):
        ColorFeatures(0)
