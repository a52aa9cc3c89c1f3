"""The evaluator of depth: averages over images, subsets, processes, saved predictions, refusals."""

import json
from datetime import timedelta

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from dense_cases import DepthSet, depth_case, feed

from pe_dense.data import KITTIDepth
from pe_dense.evaluation import DenseResults, DepthEvaluator, Evaluator, depth_metrics, evaluate_dense_results


def test_equals_the_oracle(fixtures):
    case = json.loads((fixtures / "depth" / "expected.json").read_text())["four_pixels"]
    evaluator = DepthEvaluator(DepthSet([np.reshape(case["gt"], (2, 2))]), max_depth=10)
    assert isinstance(evaluator, Evaluator)
    metrics = feed(evaluator, "depth", [np.reshape(case["pred"], (2, 2))])
    names = {"a1": "delta1", "a2": "delta2", "a3": "delta3", "log_10": "log10"}
    for name, value in case["by_hand"].items():
        assert metrics[f"depth/{names.get(name, name)}"] == pytest.approx(value, rel=1e-6)
    assert (metrics["depth/images"], metrics["depth/skipped"]) == (1, 0)


def test_averages_images_not_pixels():
    truths, predictions = depth_case()
    metrics = feed(DepthEvaluator(DepthSet(truths)), "depth", predictions)
    single = [depth_metrics(p[t > 0].clip(1e-3, 10), t[t > 0]) for t, p in zip(truths, predictions)]
    for name in single[0]:
        assert metrics[f"depth/{name}"] == pytest.approx(np.mean([s[name] for s in single]), rel=1e-12)


def test_only_depths_strictly_within_the_range_count():
    truth = np.array([[1.0, 5.0, 2.0, 0.0, np.nan]], dtype=np.float32)
    prediction = np.array([[9.0, 9.0, 3.0, 9.0, 9.0]], dtype=np.float32)
    metrics = feed(DepthEvaluator(DepthSet([truth]), min_depth=1, max_depth=5), "depth", [prediction])
    assert metrics["depth/rmse"] == 1


def test_crop_and_a_prediction_of_the_kb_crop():
    truth = np.full((375, 1242), 10, dtype=np.float32)
    truth[:100] = 20  # outside Garg's crop
    whole = np.full((375, 1242), 11, dtype=np.float32)
    evaluator = DepthEvaluator(DepthSet([truth]), max_depth=80, crop="garg")
    expected = feed(evaluator, "depth", [whole])
    assert expected["depth/abs_rel"] == pytest.approx(0.1)
    assert feed(evaluator, "depth", [whole[23:, 13:1229]]) == expected
    with pytest.raises(ValueError, match=r"rgb_00000.jpg: crop .* is defined on 480 x 640"):
        feed(DepthEvaluator(DepthSet([truth]), crop="eigen_nyu"), "depth", [whole])


@pytest.mark.parametrize(
    ("kb_crop", "crop", "expected"),
    [
        (True, "garg", (143, 349, 43, 1172)),  # fractions of the KB crop: Monocular-Depth-Estimation-Toolbox, DINOv2
        (True, "kb_garg", (143, 349, 43, 1172)),  # a second KB crop changes nothing
        (False, "kb_garg", (166, 372, 56, 1185)),  # the same pixels of the whole frame
        (False, "garg", (153, 371, 44, 1197)),  # fractions of the whole frame: BTS
    ],
)
def test_garg_crop_of_kitti_with_the_kb_crop(tmp_path, kb_crop, crop, expected):
    cv2.imwrite(str(tmp_path / "rgb.png"), np.zeros((375, 1242, 3), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "depth.png"), np.full((375, 1242), 256 * 10, dtype=np.uint16))
    (tmp_path / "list.txt").write_text("rgb.png depth.png 721.5377\n")
    dataset = KITTIDepth(tmp_path, tmp_path / "list.txt", tmp_path, kb_crop)
    prediction = np.full((352, 1216), 11, dtype=np.float32)
    comparison = DepthEvaluator(dataset, max_depth=80, crop=crop).compare(0, {"depth": prediction})
    rows, columns = np.nonzero(comparison.truth)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == expected
    assert len(rows) == (expected[1] - expected[0]) * (expected[3] - expected[2])
    assert comparison.scores["abs_rel"] == pytest.approx(0.1)


def test_images_without_ground_truth_are_left_out(caplog):
    truths, predictions = depth_case()
    expected = feed(DepthEvaluator(DepthSet(truths)), "depth", predictions)
    truths = [*truths, np.zeros_like(truths[0])]
    metrics = feed(DepthEvaluator(DepthSet(truths)), "depth", [*predictions, predictions[0]])
    assert metrics == {**expected, "depth/skipped": 1}
    assert "1 image (first room/rgb_00005.jpg) with no ground truth that counts: left out" in caplog.text
    with pytest.raises(ValueError, match=r"none of 1 image \(the first is .*\) has a pixel with depth between"):
        feed(DepthEvaluator(DepthSet(truths[-1:])), "depth", predictions[:1])


def test_alignment_is_per_image():
    truths, _ = depth_case()
    relative = [t * (k + 1) * 0.1 + k for k, t in enumerate(truths)]
    evaluator = DepthEvaluator(DepthSet(truths), alignment="least_squares")
    assert feed(evaluator, "depth", relative)["depth/abs_rel"] < 1e-5
    assert feed(DepthEvaluator(DepthSet(truths)), "depth", relative)["depth/abs_rel"] > 0.2


def test_predictions_that_are_not_finite(caplog):
    truths, predictions = depth_case(count=2)
    predictions[1][:, 0] = np.nan
    predictions[1][:, 1] = np.inf
    clean = predictions[1].copy()
    clean[:, 0], clean[:, 1] = 1e-3, 10
    metrics = feed(DepthEvaluator(DepthSet(truths)), "depth", predictions)
    assert metrics == pytest.approx(feed(DepthEvaluator(DepthSet(truths)), "depth", [predictions[0], clean]), rel=1e-6)
    assert "1 image (first room/rgb_00001.jpg) with predictions that are NaN or infinite" in caplog.text


def test_comparison_shows_what_counts():
    truths, predictions = depth_case(count=1)
    evaluator = DepthEvaluator(DepthSet(truths), max_depth=5, alignment="median")
    comparison = evaluator.compare(0, {"depth": torch.from_numpy(predictions[0] * 0.01)})
    assert (comparison.truth[truths[0] >= 5] == 0).all()
    known = comparison.truth > 0
    assert comparison.scores == pytest.approx(depth_metrics(comparison.prediction[known], truths[0][known]), rel=1e-6)
    assert comparison.error == comparison.scores["abs_rel"]
    assert np.isnan(DepthEvaluator(DepthSet([truths[0] * 0])).compare(0, {"depth": predictions[0]}).error)


def test_saved_predictions_give_the_same_numbers(tmp_path):
    truths, predictions = depth_case(count=3)
    for max_depth, scale in ((10, 1000), (80, 256)):
        evaluator = DepthEvaluator(DepthSet(truths), max_depth=max_depth, output_dir=tmp_path, save=True)
        metrics = feed(evaluator, "depth", predictions)
        again = evaluate_dense_results(evaluator, tmp_path / "depth")
        assert again == pytest.approx(metrics, rel=3e-3)
        pixels = cv2.imread(str(tmp_path / "depth" / "rgb_00001.png"), cv2.IMREAD_UNCHANGED)
        assert pixels.dtype == np.uint16
        np.testing.assert_allclose(pixels / scale, predictions[1].clip(1e-3, max_depth), atol=0.5001 / scale)
    assert not list(tmp_path.rglob(".*"))


def test_saved_relative_predictions_keep_their_range(tmp_path):
    truths, predictions = depth_case(count=2)
    relative = [p * 1e-3 - 5 for p in predictions]
    relative[0][0, :9] = np.nan
    evaluator = DepthEvaluator(DepthSet(truths), alignment="least_squares", output_dir=tmp_path, save=True)
    metrics = feed(evaluator, "depth", relative)
    np.testing.assert_allclose(DenseResults(tmp_path / "depth").output(1)["depth"], relative[1], atol=5e-7)
    again = evaluate_dense_results(evaluator, tmp_path / "depth")
    assert again["depth/abs_rel"] == pytest.approx(metrics["depth/abs_rel"], rel=1e-2)


def test_nothing_of_an_images_size_is_kept():
    truths, predictions = depth_case(count=2, size=(300, 400))
    evaluator = DepthEvaluator(DepthSet(truths))
    feed(evaluator, "depth", predictions)
    assert sum(map(len, evaluator._shard.values())) < 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_depth": 0}, r"min_depth \(0\) must be above 0"),
        ({"min_depth": 11}, r"below max_depth \(10.0\)"),
        ({"crop": "eigen"}, 'crop must be one of eigen_nyu, .* it is "eigen"'),
        ({"alignment": "mean"}, 'alignment must be one of metric, .*; it is "mean"'),
        ({"save": True}, "save=True needs an output_dir"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DepthEvaluator(DepthSet([np.ones((2, 2))]), **arguments)


def test_faulty_predictions():
    evaluator = DepthEvaluator(DepthSet([np.ones((2, 2))]))
    sample = {"image_id": 0, "file_name": "a.jpg"}
    with pytest.raises(ValueError, match=r"rgb_00000.jpg: the prediction has shape \(3, 2\)"):
        evaluator.process([sample], [{"depth": torch.ones(3, 2)}])
    with pytest.raises(ValueError, match=r"has shape \(1, 2, 2\); it must be H x W"):
        evaluator.process([sample], [{"depth": torch.ones(1, 2, 2)}])
    with pytest.raises(ValueError, match=r'predicts sem_seg for room/rgb_00000.jpg, not "depth"'):
        evaluator.process([sample], [{"sem_seg": torch.ones(2, 2)}])
    with pytest.raises(ValueError, match=r"image id 7 \(a.jpg\) is not in the evaluator's data set of 1 images"):
        evaluator.process([{"image_id": 7, "file_name": "a.jpg"}], [{"depth": torch.ones(2, 2)}])
    with pytest.raises(ValueError, match="no image was processed, so the data set cannot be evaluated"):
        feed(evaluator, "depth", [])


def _process(rank, size, folder):
    """One of several processes; image 0 goes to all of them, as samplers that pad do."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", rendezvous, timedelta(minutes=5), rank=rank, world_size=size)
    truths, predictions = depth_case()
    share = list(range(len(truths)))[rank::size] + ([0] if rank else [])
    for name, options in (("memory", {}), ("files", {"output_dir": folder / "inference", "save": True})):
        metrics = feed(DepthEvaluator(DepthSet(truths), **options), "depth", predictions, share)
        (folder / f"{name}{rank}.json").write_text(json.dumps(metrics))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    truths, predictions = depth_case()
    alone = feed(DepthEvaluator(DepthSet(truths)), "depth", predictions)
    mp.start_processes(_process, (2, tmp_path), nprocs=2, start_method="spawn")
    for name in ("memory", "files"):
        for rank in range(2):
            assert json.loads((tmp_path / f"{name}{rank}.json").read_text()) == alone
    assert DenseResults(tmp_path / "inference" / "depth").image_ids == list(range(5))
