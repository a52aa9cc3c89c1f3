"""The evaluator of semantic segmentation: one confusion matrix, processes, saved predictions, refusals."""

import json
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from dense_cases import LabelSet, feed, label_case

from pe_dense.evaluation import DenseResults, Evaluator, SemSegEvaluator, evaluate_dense_results
from pe_dense.evaluation.segmentation import boundary_counts, ious

NAMES = ["road", "sky", "tree", "car", "sign"]


def test_equals_the_oracle(fixtures):
    folder = fixtures / "segmentation"
    case = json.loads((folder / "expected.json").read_text())["miou_3images"]
    arrays = np.load(folder / "miou_3images.npz")
    classes = [f"c{k}" for k in range(case["num_classes"])]
    evaluator = SemSegEvaluator(LabelSet(arrays["gt"], classes))
    assert isinstance(evaluator, Evaluator)
    metrics = feed(evaluator, "sem_seg", arrays["pred"].astype(np.int64))
    assert metrics["sem_seg/mIoU"] / 100 == pytest.approx(case["mIoU"], abs=1e-6)
    assert metrics["sem_seg/aAcc"] / 100 == pytest.approx(case["aAcc"], abs=1e-6)
    for k, value in enumerate(case["iou"]):
        assert metrics[f"sem_seg/IoU-c{k}"] / 100 == pytest.approx(value, abs=1e-6)


def test_hand_case_with_absent_classes(fixtures):
    case = json.loads((fixtures / "segmentation" / "expected.json").read_text())["hand"]
    metrics = feed(SemSegEvaluator(LabelSet([case["gt"]], NAMES[:4])), "sem_seg", [np.array(case["pred"])])
    for ours, theirs in (("mIoU", "mIoU_nanmean"), ("aAcc", "aAcc"), ("mAcc", "mAcc_nanmean")):
        assert metrics[f"sem_seg/{ours}"] / 100 == pytest.approx(case[theirs], abs=1e-6)
    assert np.isnan([metrics["sem_seg/IoU-tree"], metrics["sem_seg/BIoU-car"]]).all()


def test_boundary_iou_is_counted_over_the_set():
    truths, predictions = label_case()
    metrics = feed(SemSegEvaluator(LabelSet(truths, NAMES)), "sem_seg", predictions)
    total = sum(boundary_counts(t, p, 5, 0.02) for t, p in zip(truths, predictions))
    np.testing.assert_allclose([metrics[f"sem_seg/BIoU-{n}"] for n in NAMES], 100 * ious(*total))
    assert 0 < metrics["sem_seg/mBIoU"] < metrics["sem_seg/mIoU"]
    without = feed(SemSegEvaluator(LabelSet(truths, NAMES), boundary=None), "sem_seg", predictions)
    assert without == {k: v for k, v in metrics.items() if "BIoU" not in k}
    perfect = [np.where(t == 255, 0, t).astype(np.int64) for t in truths]
    assert feed(SemSegEvaluator(LabelSet(truths, NAMES)), "sem_seg", perfect)["sem_seg/mBIoU"] == 100


def test_a_repeated_image_counts_once():
    truths, predictions = label_case()
    evaluator = SemSegEvaluator(LabelSet(truths, NAMES))
    expected = feed(evaluator, "sem_seg", predictions)
    assert feed(evaluator, "sem_seg", predictions, ids=[0, 1, 2, 3, 1, 0]) == expected


def test_images_without_labels_are_counted(caplog):
    truths, predictions = label_case()
    expected = feed(SemSegEvaluator(LabelSet(truths, NAMES)), "sem_seg", predictions)
    truths.append(np.full_like(truths[0], 255))
    metrics = feed(SemSegEvaluator(LabelSet(truths, NAMES)), "sem_seg", [*predictions, predictions[0]])
    assert metrics == {**expected, "sem_seg/skipped": 1}
    assert "1 image (first street_4.png) without a labelled pixel: left out" in caplog.text
    with pytest.raises(ValueError, match=r"none of 1 image \(the first is street_0.png\) has a labelled pixel"):
        feed(SemSegEvaluator(LabelSet(truths[-1:], NAMES)), "sem_seg", predictions[:1])


def test_classes_of_one_name_stay_apart():
    truths, predictions = label_case()
    metrics = feed(SemSegEvaluator(LabelSet(truths, ["a", "b", "a", "c", "d"])), "sem_seg", predictions)
    assert {"sem_seg/IoU-a (0)", "sem_seg/IoU-a (2)", "sem_seg/IoU-b"} <= set(metrics)


def test_saved_predictions_give_the_same_numbers(tmp_path):
    truths, predictions = label_case()
    data = LabelSet(truths, NAMES, names=["/data/a/x.jpg", "/data/a/x.png", "/data/b/../up/y.jpg", "/data/z.jpg"])
    evaluator = SemSegEvaluator(data, output_dir=tmp_path, save=True)
    metrics = feed(evaluator, "sem_seg", predictions)
    assert evaluate_dense_results(SemSegEvaluator(data), tmp_path / "sem_seg") == metrics
    saved = DenseResults(tmp_path / "sem_seg" / "predictions.json")
    assert (saved.task, saved.classes, saved.image_ids) == ("sem_seg", NAMES, [0, 1, 2, 3])
    assert np.array_equal(saved.output(2)["sem_seg"], predictions[2])
    files = sorted(p.relative_to(tmp_path / "sem_seg").as_posix() for p in tmp_path.rglob("*.png"))
    assert files == ["a/x.jpg.png", "a/x.png.png", "up/y.jpg.png", "z.jpg.png"]


def test_comparison_sorts_by_wrong_pixels():
    truths, predictions = label_case(count=1)
    comparison = SemSegEvaluator(LabelSet(truths, NAMES)).compare(0, {"sem_seg": torch.as_tensor(predictions[0])})
    right = (truths[0] == predictions[0])[truths[0] != 255].mean()
    assert comparison.error == pytest.approx(1 - right)
    assert set(comparison.scores) == {"mIoU", "mAcc", "aAcc"}


def test_only_counts_are_kept():
    truths, predictions = label_case(count=2, size=(300, 400))
    evaluator = SemSegEvaluator(LabelSet(truths, NAMES))
    feed(evaluator, "sem_seg", predictions)
    assert sum(map(len, evaluator._shard.values())) < 100
    assert evaluator._confusion.size + evaluator._bands.size == 40


def test_refusals(tmp_path):
    truths, predictions = label_case(count=1)
    with pytest.raises(ValueError, match=r"street_0.png: the ground truth has label 4 but the classes are 0 to 1"):
        feed(SemSegEvaluator(LabelSet(truths, NAMES[:2])), "sem_seg", predictions)
    with pytest.raises(ValueError, match=r"street_0.png: the prediction has shape \(30, 39\)"):
        feed(SemSegEvaluator(LabelSet(truths, NAMES)), "sem_seg", [predictions[0][:, 1:]])
    with pytest.raises(ValueError, match="0 classes; there must be 1 to 255"):
        SemSegEvaluator(LabelSet(truths, []))
    with pytest.raises(ValueError, match="boundary must be positive"):
        SemSegEvaluator(LabelSet(truths, NAMES), boundary=0)
    with pytest.raises(ValueError, match="save=True needs an output_dir"):
        SemSegEvaluator(LabelSet(truths, NAMES), save=True)


def _process(rank, size, folder):
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", rendezvous, timedelta(minutes=5), rank=rank, world_size=size)
    truths, predictions = label_case(count=5)
    share = list(range(5))[rank::size]
    for name, options in (("memory", {}), ("files", {"output_dir": folder / "inference", "save": True})):
        metrics = feed(SemSegEvaluator(LabelSet(truths, NAMES), **options), "sem_seg", predictions, share)
        (folder / f"{name}{rank}.json").write_text(json.dumps(metrics))
    with pytest.raises((ValueError, RuntimeError), match="1 image went to more than one process"):
        feed(SemSegEvaluator(LabelSet(truths, NAMES)), "sem_seg", predictions, [rank, 2])
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    truths, predictions = label_case(count=5)
    alone = feed(SemSegEvaluator(LabelSet(truths, NAMES)), "sem_seg", predictions)
    mp.start_processes(_process, (2, tmp_path), nprocs=2, start_method="spawn")
    for name in ("memory", "files"):
        for rank in range(2):
            assert json.loads((tmp_path / f"{name}{rank}.json").read_text()) == alone
    assert len(list((tmp_path / "inference" / "sem_seg").glob("*.png"))) == 5
