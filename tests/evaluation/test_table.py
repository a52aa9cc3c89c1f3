"""Metrics as text."""

from pe_dense.evaluation import format_results, is_per_class


def coco_metrics(classes, tasks=("bbox", "segm")):
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    metrics = {f"{t}/{n}": 40 + i + 0.125 for t in tasks for i, n in enumerate(names)}
    metrics.update({f"{t}/AP-class {k}": float(k) for t in tasks for k in range(classes)})
    metrics["bbox/APs"] = float("nan")
    return metrics


def test_summary_and_few_classes():
    text = format_results(coco_metrics(2))
    assert text.splitlines()[0].split() == ["task", "AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert text.splitlines()[2].split() == ["bbox", "40.12", "41.12", "42.12", "-", "44.12", "45.12"]
    assert text.splitlines()[-1].split() == ["class", "1", "1.00", "1.00"]


def test_recall_has_lines_of_its_own():
    lines = format_results(coco_metrics(0)).splitlines()
    assert lines[5].split() == ["task", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    assert lines[8].split() == ["segm", "46.12", "47.12", "48.12", "49.12", "50.12", "51.12"]
    assert len(lines) == 9
    assert format_results({"bbox/AP": 1.0}).splitlines()[0].split() == ["task", "AP"]


def test_many_classes_fit_the_terminal():
    for classes in (7, 80, 365):
        text = format_results(coco_metrics(classes))
        assert max(map(len, text.splitlines())) <= 80
        assert all(f"class {k} " in text for k in range(classes))
    assert len(text.splitlines()) < 200


def test_class_names_with_slashes_and_great_length():
    text = format_results({"bbox/AP": 1.0, "bbox/AP-cup/glass": 2.0, "bbox/AP-" + "x" * 90: 3.0})
    assert "cup/glass" in text
    assert "…" in text
    assert max(map(len, text.splitlines())) <= 80


def test_metrics_of_other_protocols():
    depth = {"abs_rel": 0.11254, "rmse": 0.3, "silog": 12.5, "delta1": 0.9, "images": 654.0, "skipped": 0.0}
    lines = format_results({**{f"depth/{k}": v for k, v in depth.items()}, "loss": 2.0}).splitlines()
    assert lines[0].split() == ["task", "abs_rel", "rmse", "silog"]
    assert lines[2].split() == ["depth", "0.1125", "0.3000", "12.5000"]
    assert lines[6].split() == ["depth", "0.9000", "654", "0"]
    assert lines[-1].split() == ["2.00"]


def test_scores_of_segmentation():
    metrics = {"sem_seg/mIoU": 50.0, "sem_seg/mBIoU": float("nan"), "sem_seg/images": 3.0}
    metrics |= {f"sem_seg/{k}-{n}": 1.5 for k in ("IoU", "BIoU") for n in ("dry-stone wall", "sky/cloud")}
    lines = format_results(metrics).splitlines()
    assert lines[2].split() == ["sem_seg", "50.00", "-", "3"]
    assert lines[4].split() == ["class", "sem_seg", "IoU", "sem_seg", "BIoU"]
    assert lines[6].split() == ["dry-stone", "wall", "1.50", "1.50"]
    assert is_per_class("sem_seg/BIoU-dry-stone wall")
    assert not is_per_class("sem_seg/mIoU")
    assert not is_per_class("learning-rate")
