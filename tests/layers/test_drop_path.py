import torch
from torch._dynamo.testing import CompileCounter

from pe_dense.layers.drop_path import DropPath


def test_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    out = DropPath(0.25)(torch.ones(4000, 3))
    values = set(out.unique().tolist())
    assert values == {0.0, torch.tensor(1 / 0.75).item()}
    assert (out.std(dim=1) == 0).all()
    assert abs(out.mean() - 1) < 0.03


def test_is_the_identity_in_eval_mode():
    x = torch.randn(4, 3)
    assert DropPath(0.5).eval()(x) is x


def test_blocks_of_all_rates_share_one_compilation():
    torch._dynamo.reset()
    counter = CompileCounter()
    for rate in torch.linspace(0.1, 0.5, 12).tolist():
        block = DropPath(rate)
        block.compile(backend=counter, fullgraph=True)
        out = block(torch.ones(200, 3))
        torch.testing.assert_close(out.unique(), torch.tensor([0, 1 / (1 - rate)]))
    assert counter.frame_count <= 2  # the second one takes the rate as an argument
