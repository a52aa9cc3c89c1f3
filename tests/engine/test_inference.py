"""Evaluation loop."""

import torch
from toy_run import NUM_IMAGES, ToyDataset, ToyEvaluator, ToyModel, ToyTestLoader

from pe_dense.engine.inference import run_inference


def test_every_image_once_and_nothing_changes() -> None:
    torch.manual_seed(0)
    model = ToyModel(dropout=0.9).train()
    evaluator = ToyEvaluator()
    state = torch.get_rng_state()
    loader = ToyTestLoader(ToyDataset())
    first = run_inference(model, loader, evaluator, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert len(evaluator.right) == NUM_IMAGES
    assert run_inference(model, loader, evaluator, torch.device("cpu")) == first  # reset, no dropout


def test_cut_short() -> None:
    evaluator = ToyEvaluator()
    loader = ToyTestLoader(ToyDataset())
    stop = lambda: len(evaluator.right) >= 3
    assert run_inference(ToyModel(), loader, evaluator, torch.device("cpu"), should_stop=stop) is None
    assert len(evaluator.right) == 3
