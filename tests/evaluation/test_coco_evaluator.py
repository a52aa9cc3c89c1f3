"""The evaluator on model outputs: same numbers as the saved results, subsets, several processes, refusals."""

import json
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from coco_cases import HEIGHT, WIDTH, assert_same, oracle, random_case

from pe_dense.evaluation import CocoEvaluator, Evaluator, evaluate_coco_results
from pe_dense.structures import Categories, Instances, RoiMasks


def random_outputs(truth, seed=0):
    """(sample, output) pairs with RoiMasks for every image of ``truth``; some images have no predictions."""
    generator = torch.Generator().manual_seed(seed)
    contiguous = Categories.from_json(truth["categories"]).contiguous
    pairs = []
    for image in truth["images"]:
        objects = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes = torch.tensor([a["bbox"] for a in objects]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = boxes + torch.randn(boxes.shape, generator=generator)
        instances = Instances(
            (HEIGHT, WIDTH),
            boxes,
            torch.tensor([contiguous[a["category_id"]] for a in objects], dtype=torch.int64),
            torch.rand(len(boxes), generator=generator),
            RoiMasks(torch.rand(len(boxes), 7, 7, generator=generator) + 0.3, boxes, (HEIGHT, WIDTH)),
        )
        pairs.append(({"image_id": image["id"], "file_name": image["file_name"]}, {"instances": instances}))
    return pairs


def feed(evaluator, pairs, batch=3):
    evaluator.reset()
    for i in range(0, len(pairs), batch):
        inputs, outputs = zip(*pairs[i : i + batch])
        evaluator.process(inputs, outputs)
    return evaluator.evaluate()


@pytest.fixture
def case(tmp_path):
    truth, _ = random_case(0)
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    return file, truth, random_outputs(truth)


def test_equals_saved_results_and_pycocotools(case, tmp_path):
    file, truth, pairs = case
    evaluator = CocoEvaluator(file, output_dir=tmp_path / "inference")
    assert isinstance(evaluator, Evaluator)
    metrics = feed(evaluator, pairs)
    saved = tmp_path / "inference" / "coco_instances_results.json"
    rows = json.loads(saved.read_text())
    np.testing.assert_equal(metrics, evaluate_coco_results(file, saved))
    for task in ("bbox", "segm"):
        assert_same(metrics, task, oracle(truth, rows, task)[0])
    assert metrics["bbox/AP"] > 50
    assert not list(saved.parent.glob(".*"))  # nothing temporary stays


def test_full_masks_equal_pasted_ones(case, tmp_path):
    file, _, pairs = case
    full = []
    for sample, output in pairs:
        instances = output["instances"]
        masks = instances.masks.bitmasks()
        full.append((sample, {"instances": Instances(instances.image_size, instances.boxes, instances.classes,
                                                     instances.scores, masks)}))  # fmt: skip
    np.testing.assert_equal(feed(CocoEvaluator(file), full), feed(CocoEvaluator(file), pairs))


def test_does_not_change_the_predictions(case):
    file, _, pairs = case
    before = [output["instances"].boxes.clone() for _, output in pairs]
    feed(CocoEvaluator(file), pairs)
    assert all(torch.equal(b, output["instances"].boxes) for b, (_, output) in zip(before, pairs))


def test_only_processed_images_count(case, tmp_path, caplog):
    file, truth, pairs = case
    metrics = feed(CocoEvaluator(file, output_dir=tmp_path), pairs[:5])
    rows = json.loads((tmp_path / "coco_instances_results.json").read_text())
    ids = [sample["image_id"] for sample, _ in pairs[:5]]
    for task in ("bbox", "segm"):
        assert_same(metrics, task, oracle(truth, rows, task, image_ids=ids)[0])
    assert "evaluating 5 of the 12 images" in caplog.text


def test_reset_forgets(case):
    file, _, pairs = case
    evaluator = CocoEvaluator(file)
    first = feed(evaluator, pairs)
    feed(evaluator, pairs[:3])
    np.testing.assert_equal(feed(evaluator, pairs), first)


def test_no_predictions_at_all(case, tmp_path):
    file, _, pairs = case
    empty = [(s, {"instances": Instances.empty((HEIGHT, WIDTH))}) for s, _ in pairs]
    metrics = feed(CocoEvaluator(file, output_dir=tmp_path), empty)
    assert metrics["bbox/AP"] == metrics["segm/AP"] == 0
    assert json.loads((tmp_path / "coco_instances_results.json").read_text()) == []


def test_images_without_objects_give_nan(case):
    file, _, pairs = case
    assert np.isnan(feed(CocoEvaluator(file), pairs[-2:])["bbox/AP"])


def test_model_without_masks(case):
    file, _, pairs = case
    for _, output in pairs:
        output["instances"].masks = None
    assert {k.split("/")[0] for k in feed(CocoEvaluator(file, tasks=None), pairs)} == {"bbox"}
    with pytest.raises(ValueError, match=r"the model predicts no masks; evaluate with tasks=\('bbox',\)"):
        feed(CocoEvaluator(file), pairs)


def test_model_that_finds_nothing_keeps_its_tasks(case):
    """The results have the same keys whether anything was found or not."""
    file, _, pairs = case
    without = [(s, {"instances": Instances.empty((HEIGHT, WIDTH))}) for s, _ in pairs]
    with_masks = [(s, {"instances": o["instances"][:0]}) for s, o in pairs]
    evaluator = CocoEvaluator(file, tasks=None)
    assert feed(evaluator, with_masks)["segm/AP"] == 0
    assert {k.split("/")[0] for k in feed(evaluator, without)} == {"bbox"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, o: s.update(image_id=424242), r"image id 424242 \(.*jpg\) is not in the ground truth"),
        (lambda s, o: o.scores.fill_(float("nan")), "NaN or infinite boxes or scores"),
        (lambda s, o: o.classes.fill_(5), r"predicts class 5 \(counted from 0\) but .*truth.json has 5 classes"),
    ],
)
def test_faulty_predictions(case, change, message):
    file, _, pairs = case
    sample, output = next(p for p in pairs if len(p[1]["instances"]))
    change(sample, output["instances"])
    with pytest.raises(ValueError, match=message):
        feed(CocoEvaluator(file), [(sample, output)])


def test_nothing_processed(case):
    with pytest.raises(ValueError, match="no image was processed"):
        feed(CocoEvaluator(case[0]), [])


def test_bad_limit(case):
    with pytest.raises(ValueError, match="max_detections must be at least 1, not 0"):
        CocoEvaluator(case[0], max_detections=0)


def _process(rank, size, folder):
    """One of several processes; image 0 is processed by all of them, as samplers that pad do."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", rendezvous, timedelta(seconds=60), rank=rank, world_size=size)
    truth = json.loads((folder / "truth.json").read_text())
    pairs = random_outputs(truth)
    share = pairs[rank::size] + ([pairs[0]] if rank else [])
    for name, output_dir in (("memory", None), ("files", folder / "inference")):
        metrics = feed(CocoEvaluator(folder / "truth.json", output_dir=output_dir), share)
        (folder / f"{name}{rank}.json").write_text(json.dumps(metrics))
    blocked = folder / "blocked"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(RuntimeError, match="could not exchange results through files"):
        feed(CocoEvaluator(folder / "truth.json", output_dir=blocked), share)
    (folder / "taken" / "coco_instances_results.json").mkdir(parents=True, exist_ok=True)
    with pytest.raises(IsADirectoryError if rank == 0 else RuntimeError, match="coco_instances_results"):
        feed(CocoEvaluator(folder / "truth.json", output_dir=folder / "taken"), share)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(case, tmp_path):
    file, _, pairs = case
    alone = feed(CocoEvaluator(file, output_dir=tmp_path / "alone"), pairs)
    mp.start_processes(_process, (2, tmp_path), nprocs=2, start_method="spawn")
    for name in ("memory", "files"):
        for rank in range(2):
            np.testing.assert_equal(json.loads((tmp_path / f"{name}{rank}.json").read_text()), alone)
    results = "coco_instances_results.json"
    assert (tmp_path / "inference" / results).read_bytes() == (tmp_path / "alone" / results).read_bytes()
    assert not list((tmp_path / "inference").glob(".*"))
