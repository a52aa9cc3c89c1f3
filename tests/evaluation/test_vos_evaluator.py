"""Masks scored as they are predicted: the same numbers as from saved files."""

import json

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from vos_cases import write_case

from pe_dense.data import VideoFolder
from pe_dense.evaluation import Evaluator, VideoObjectEvaluator, evaluate_vos_results, vos_metrics


def feed(evaluator, root, data, frames=slice(None)):
    results = data.open_results(root / "results")
    pairs = [(s.name, frame) for s in data for frame in s.annotations][frames]
    for name, frame in pairs:
        labels = torch.from_numpy(results.read_labels(name, frame).astype(np.int64))
        evaluator.process([{"sequence": name, "frame": frame}], [{"labels": labels}])


def test_equals_the_score_of_saved_masks(tmp_path):
    data = write_case(tmp_path, {"a": 6, "b": 4})
    expected = vos_metrics(evaluate_vos_results(data, tmp_path / "results"))
    evaluator = VideoObjectEvaluator(data, tmp_path / "output")
    assert isinstance(evaluator, Evaluator)
    feed(evaluator, tmp_path, data, slice(None, None, -1))
    feed(evaluator, tmp_path, data)  # frames that were taken before
    assert evaluator.evaluate() == expected
    saved = json.loads((tmp_path / "output" / "vos" / "vos.json").read_text())
    assert saved["metrics"]["vos/J&F"] == expected["vos/J&F"]
    evaluator.reset()
    with pytest.raises(ValueError, match="no image was processed"):
        evaluator.evaluate()


def test_sequences_not_begun_take_no_part_but_half_ones_are_errors(tmp_path):
    data = write_case(tmp_path, {"a": 6, "b": 4})
    evaluator = VideoObjectEvaluator(data)
    feed(evaluator, tmp_path, data, slice(0, 6))
    assert evaluator.evaluate() == vos_metrics(evaluate_vos_results(data.select(["a"]), tmp_path / "results"))
    evaluator.reset()
    feed(evaluator, tmp_path, data, slice(0, 3))
    with pytest.raises(ValueError, match=r"2 frames of sequences that were begun have no prediction: a/00003, a/00004"):
        evaluator.evaluate()


def test_refusals(tmp_path):
    evaluator = VideoObjectEvaluator(write_case(tmp_path, {"a": 6}))
    sample = {"sequence": "a", "frame": "00001"}
    for output, message in (
        ({"labels": torch.full((40, 60), 3)}, r"a, frame 00001: the prediction has the objects 3, but .* only 1, 2"),
        ({"labels": torch.full((40, 60), 256)}, "object numbers beyond 0 to 255"),
        ({"labels": torch.zeros(4, 6)}, r"is 6 x 4 but its annotation 60 x 40"),
        ({"labels": torch.zeros(1, 4, 6)}, "it must be H x W"),
        ({"masks": 0}, 'predicts masks for a, frame 00001, not "labels"'),
    ):
        with pytest.raises(ValueError, match=message):
            evaluator.process([sample], [output])
    with pytest.raises(ValueError, match="sequence z is not in"):
        evaluator.process([{**sample, "sequence": "z"}], [{}])


def _distributed(rank, root):
    torch.set_num_threads(1)
    store = dist.FileStore(str(root / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    data = VideoFolder(root / "truth")
    evaluator = VideoObjectEvaluator(data, root / "shared")
    feed(evaluator, root, data, slice(rank, None, 2))  # the frames of a sequence in both processes
    metrics = evaluator.evaluate()
    (root / f"metrics{rank}.json").write_text(json.dumps(metrics))
    dist.destroy_process_group()


def test_processes_share_the_frames(tmp_path):
    data = write_case(tmp_path, {"a": 6, "b": 5})
    (tmp_path / "shared").mkdir()
    mp.start_processes(_distributed, (tmp_path,), nprocs=2, start_method="fork")
    expected = vos_metrics(evaluate_vos_results(data, tmp_path / "results"))
    for rank in range(2):
        assert json.loads((tmp_path / f"metrics{rank}.json").read_text()) == expected
