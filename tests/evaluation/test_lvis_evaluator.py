"""The LVIS evaluator on model outputs: same numbers as the saved results, subsets, several processes, refusals."""

import json
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lvis_cases import assert_same, lvis_oracle, moved_objects, small_case

from pe_dense.evaluation import Evaluator, LvisEvaluator, evaluate_lvis_results
from pe_dense.structures import Categories, Instances, RoiMasks


def outputs(truth):
    """(sample, output) pairs for every image of ``truth``."""
    generator = torch.Generator().manual_seed(0)
    contiguous = Categories.from_json(truth["categories"]).contiguous
    rows = moved_objects(truth, seed=2)
    pairs = []
    for image in truth["images"]:
        own = [r for r in rows if r["image_id"] == image["id"]]
        boxes = torch.tensor([r["bbox"] for r in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances(
            (100, 100),
            boxes,
            torch.tensor([contiguous[r["category_id"]] for r in own], dtype=torch.int64),
            torch.tensor([r["score"] for r in own]),
            RoiMasks(torch.rand(len(own), 7, 7, generator=generator) + 0.3, boxes, (100, 100)),
        )
        pairs.append(({"image_id": image["id"], "file_name": image["coco_url"]}, {"instances": instances}))
    return pairs


def feed(evaluator, pairs):
    evaluator.reset()
    for sample, output in pairs:
        evaluator.process([sample], [output])
    return evaluator.evaluate()


@pytest.fixture
def case(tmp_path):
    truth, _ = small_case()
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    return file, truth, outputs(truth)


def test_equals_saved_results_and_an_independent_implementation(case, tmp_path):
    file, truth, pairs = case
    evaluator = LvisEvaluator(file, output_dir=tmp_path / "inference")
    assert isinstance(evaluator, Evaluator)
    metrics = feed(evaluator, pairs)
    saved = tmp_path / "inference" / "coco_instances_results.json"
    np.testing.assert_equal(metrics, evaluate_lvis_results(file, saved))
    for task in ("bbox", "segm"):
        assert_same(metrics, task, lvis_oracle(truth, json.loads(saved.read_text()), task)[0])
    note = json.loads((saved.parent / "evaluated_images.json").read_text())
    assert sorted(row["id"] for row in note["images"]) == [2, 5, 9, 11]


def test_only_processed_images_count(case, tmp_path):
    file, truth, pairs = case
    metrics = feed(LvisEvaluator(file, output_dir=tmp_path), pairs[:2])
    rows = json.loads((tmp_path / "coco_instances_results.json").read_text())
    for task in ("bbox", "segm"):
        assert_same(metrics, task, lvis_oracle(truth, rows, task, image_ids=[11, 5])[0])


def test_limit(case, tmp_path):
    file, truth, pairs = case
    metrics = feed(LvisEvaluator(file, ("bbox",), tmp_path, max_detections=2), pairs)
    rows = json.loads((tmp_path / "coco_instances_results.json").read_text())
    expected = lvis_oracle(truth, rows, "bbox", limit=2)[0]
    assert_same(metrics, "bbox", {k: v for k, v in expected.items() if k != "AR300"})
    assert "bbox/AR2" in metrics


def test_a_json_of_coco_is_refused(real_data):
    with pytest.raises(ValueError, match=r"has no list 'neg_category_ids'; .* evaluate by COCO's protocol \(CocoEval"):
        LvisEvaluator(real_data / "coco_eval_val2014_100" / "instances_val2014_100.json")


def test_an_unknown_image_is_refused(case):
    file, _, pairs = case
    pairs[0][0]["image_id"] = 4
    with pytest.raises(ValueError, match=r"image id 4 \(.*000000000011.jpg\) is not in the ground truth"):
        feed(LvisEvaluator(file), pairs)


def _process(rank, size, folder):
    """One of several processes; image 0 is processed by all of them, as samplers that pad do."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", rendezvous, timedelta(seconds=60), rank=rank, world_size=size)
    pairs = outputs(json.loads((folder / "truth.json").read_text()))
    share = pairs[rank::size] + ([pairs[0]] if rank else [])
    for name, output_dir in (("memory", None), ("files", folder / "inference")):
        metrics = feed(LvisEvaluator(folder / "truth.json", output_dir=output_dir), share)
        (folder / f"{name}{rank}.json").write_text(json.dumps(metrics))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(case, tmp_path):
    file, _, pairs = case
    alone = feed(LvisEvaluator(file), pairs)
    mp.start_processes(_process, (2, tmp_path), nprocs=2, start_method="spawn")
    for name in ("memory", "files"):
        for rank in range(2):
            np.testing.assert_equal(json.loads((tmp_path / f"{name}{rank}.json").read_text()), alone)
