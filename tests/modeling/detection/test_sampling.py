import torch

from pe_dense.modeling.detection.sampling import subsample_labels


def sampled(labels, num_samples, fraction):
    index, valid = subsample_labels(labels, num_samples, fraction)
    return [labels[i][index[i][valid[i]]] for i in range(len(labels))], index, valid


def test_proportions():
    labels = torch.full((3, 100), -1)
    labels[0, :40], labels[0, 40:90] = 1, 0  # enough of both
    labels[1, :3], labels[1, 50:80] = 1, 0  # few positives: negatives fill up
    labels[2, 10:12] = 0  # two candidates in all
    chosen, index, valid = sampled(labels, 20, 0.25)
    assert [(c == 1).sum().item() for c in chosen] == [5, 3, 0]
    assert [(c == 0).sum().item() for c in chosen] == [15, 17, 2]
    assert index.shape == (3, 20)
    for i, v in zip(index, valid):
        assert len(i[v].unique()) == v.sum()  # without replacement
    assert (chosen[0][:5] == 1).all()  # positives first
    assert not (chosen[0][5:] == 1).any()


def test_short_rows_and_classes_above_one():
    chosen, index, _ = sampled(torch.tensor([[3, 0, -1, 7, 0]]), 512, 0.25)
    assert index.shape == (1, 5)
    assert sorted(chosen[0].tolist()) == [0, 0, 3, 7]


def test_every_candidate_is_equally_likely_and_the_seed_decides():
    labels = torch.tensor([[1] * 6 + [0] * 6 + [-1] * 6]).expand(4000, -1)
    torch.manual_seed(0)
    index, valid = subsample_labels(labels, 6, 0.5)
    torch.manual_seed(0)
    assert torch.equal(subsample_labels(labels, 6, 0.5)[0], index)
    share = torch.bincount(index[valid], minlength=18) / 4000
    assert (share[12:] == 0).all()
    assert (share[:12] - 0.5).abs().max() < 0.05
