import torch

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
