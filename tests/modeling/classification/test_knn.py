"""Nearest neighbours against the definition."""

import numpy as np
import pytest
import torch

from pe_dense.modeling.classification import KnnClassifier


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 1.0), (1000, 0.07)])
def test_votes_are_those_of_the_definition(k: int, temperature: float) -> None:
    rng = np.random.default_rng(0)
    bank, queries = rng.normal(size=(60, 8)), rng.normal(size=(11, 8))
    labels = rng.integers(0, 4, 60)
    found = KnnClassifier(k, temperature)(torch.tensor(queries), torch.tensor(bank), torch.tensor(labels), 4).numpy()
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    for row, query in zip(found, unit(queries)):
        cosines = unit(bank) @ query
        nearest = np.argsort(-cosines)[:k]
        votes = np.zeros(4)
        for i in nearest:
            votes[labels[i]] += np.exp(cosines[i] / temperature)
        np.testing.assert_allclose(row, votes / votes.sum(), rtol=1e-4, atol=1e-6)


def test_settings() -> None:
    with pytest.raises(ValueError, match=r"knn\.k must be greater than 0, it is 0"):
        KnnClassifier(k=0)
    with pytest.raises(ValueError, match=r"knn\.temperature must be greater than 0"):
        KnnClassifier(temperature=0.0)
