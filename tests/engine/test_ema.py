"""Moving average of the weights."""

import pytest
import torch
from torch import nn

from pe_dense.engine.ema import Ema


def test_average_and_warmup() -> None:
    model = nn.BatchNorm1d(2)
    ema = Ema(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.num_batches_tracked.fill_(7)
    ema.update(step=1)
    assert ema.average["weight"].tolist() == pytest.approx([1 + 2 * (1 - 2 / 11)] * 2)
    assert ema.average["num_batches_tracked"] == 7
    before = ema.average["weight"].clone()
    ema.update(step=10_000)
    torch.testing.assert_close(ema.average["weight"], before * 0.9 + 3.0 * 0.1)


def test_applied_swaps_and_restores_bit_for_bit() -> None:
    model = nn.Linear(3, 3)
    ema = Ema(model, decay=0.5)
    with torch.no_grad():
        model.weight.normal_()
    own, average = model.weight.clone(), ema.average["weight"].clone()

    def failing_evaluation() -> None:
        with ema.applied():
            assert torch.equal(model.weight, average)
            raise RuntimeError("evaluation failed")

    with pytest.raises(RuntimeError, match="evaluation failed"):
        failing_evaluation()
    assert torch.equal(model.weight, own)
    assert torch.equal(ema.average["weight"], average)
