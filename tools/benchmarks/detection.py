"""What surrounds a detector's forward pass: suppression, assignment and losses, test-time augmentation."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from benchmarks.timing import interleaved, ratio_row
from torch import Tensor
from torchvision.ops import box_iou

from pe_dense.layers.soft_nms import soft_nms
from pe_dense.modeling.backbone import FeaturePyramid, pe_spatial_t16_512
from pe_dense.modeling.detection import DetectionTTA, Detector, build_mask_rcnn
from pe_dense.modeling.detection.tta import _view
from pe_dense.structures import Instances
from projects.deta import DetaPyramid, Selection, build_deta

CLASSES, BOXES, OBJECTS = 91, 2000, 100


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the benchmark table, with one thread; ``quick`` takes small images."""
    torch.set_num_threads(1)
    side, repeats = (256, 1) if quick else (1024, 3)
    rows = [soft_suppression(repeats), criterion_share(side, repeats)]
    return [*rows, *(augmentation(name, make, side, repeats) for name, make in (("DETA", deta), ("Mask R-CNN", rcnn)))]


def soft_suppression(repeats: int) -> dict[str, Any]:
    """2,000 boxes of 91 classes that lie in clusters, as a detector's do."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.rand(OBJECTS, 2, generator=generator) * 900
    owner = torch.randint(0, OBJECTS, (BOXES,), generator=generator)
    corner = centre[owner] + 6 * torch.randn(BOXES, 2, generator=generator)
    boxes = torch.cat([corner, corner + 80 + 6 * torch.randn(BOXES, 2, generator=generator)], dim=1)
    scores = torch.rand(BOXES, generator=generator)
    classes = (owner * 7 + torch.randint(0, 2, (BOXES,), generator=generator)) % CLASSES
    ours, theirs = soft_nms(boxes, scores, classes), by_loop(boxes, scores, classes)
    torch.testing.assert_close(ours[1], theirs, atol=1e-5, rtol=0)
    seconds = interleaved(
        {"ours": partial(soft_nms, boxes, scores, classes), "theirs": partial(by_loop, boxes, scores, classes)},
        repeats,
    )
    what = f"soft-NMS (quad), {BOXES} boxes, {CLASSES} classes"
    return ratio_row(what, "a loop over the boxes (detectron2's form)", seconds["ours"], seconds["theirs"], 5.0)


def by_loop(boxes: Tensor, scores: Tensor, classes: Tensor) -> Tensor:
    """Scores in descending order: the best box, then all others' overlaps with it, and so on."""
    left = boxes.double() + classes[:, None] * (boxes.max() + 1)  # classes apart
    scores, kept = scores.double(), []
    while len(left):
        best = scores.argmax()
        kept.append(scores[best])
        others = torch.arange(len(left)) != best
        box, left, scores = left[best], left[others], scores[others]
        iou = box_iou(box[None], left)[0]
        scores = torch.where(iou > 0.7, scores * (1 - iou) ** 0.5, scores)
        left, scores = left[scores > 0.001], scores[scores > 0.001]
    return torch.stack(kept).float()


def criterion_share(side: int, repeats: int) -> dict[str, Any]:
    """Assignment and losses with their part of the backward pass, in a training step of DETA on PE-Spatial T."""
    model = deta(side).train()
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(20, 2, generator=generator) * side * 0.7
    boxes = torch.cat([corner, corner + 8 + torch.rand(20, 2, generator=generator) * side * 0.28], dim=1)
    objects = Instances((side, side), boxes, torch.randint(0, 80, (20,), generator=generator))
    sample = {"image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8), "instances": objects}
    given: list[Any] = []
    criterion = model.criterion
    with torch.no_grad(), patch.object(model, "criterion", lambda *inputs: given.extend(inputs) or {}):
        model([sample])
    queries, first_stage, truth = given

    def losses_alone() -> None:
        leaves = [t.requires_grad_() for p in (queries, first_stage) for t in (p.logits, p.boxes)]
        torch.autograd.grad(sum(criterion(queries, first_stage, truth).values()), leaves)  # type: ignore[arg-type]

    def step() -> None:
        model.zero_grad(set_to_none=True)
        sum(model([sample]).values()).backward()  # type: ignore[union-attr]

    seconds = interleaved({"losses": losses_alone, "step": step}, repeats)
    return ratio_row(
        f"DETA on PE-Spatial T, {side} px: assignment and losses, forward and backward", "the whole training step",
        seconds["losses"], seconds["step"], 10.0, note=f"{seconds['losses'] / seconds['step']:.1%} of it",
    )  # fmt: skip


def augmentation(name: str, make: Callable[[int], Detector], side: int, repeats: int) -> dict[str, Any]:
    """Three sizes, each mirrored too, against the same views predicted one by one and not merged."""
    sizes = [side * 3 // 4, side * 7 // 8, side]
    tta = DetectionTTA(sizes, decay="quad", iou_threshold=0.7)
    model = make(side).eval()
    sample = {"image": torch.randint(0, 256, (3, side * 3 // 4, side), dtype=torch.uint8)}
    views = [_view(sample, size, flipped) for size in sizes for flipped in (False, True)]
    ratios = []
    with torch.no_grad():
        model(views[:1])
        for _ in range(repeats):
            start = time.process_time()
            for view in views:
                model([view])
            middle = time.process_time()
            with patch.object(model, "tta", tta):
                model([sample])
            ratios.append((time.process_time() - middle, middle - start))
    ours, theirs = sorted(ratios, key=lambda pair: pair[0] / pair[1])[len(ratios) // 2]
    return ratio_row(
        f"{name} on PE-Spatial T, {side} px: test-time augmentation, 3 sizes x mirrored", "its 6 single passes",
        ours, theirs, 1 / 1.2, note=f"{ours / theirs:.3f} x their CPU seconds",
    )  # fmt: skip


def deta(side: int) -> Detector:
    """With 2,000 detections of a view to merge."""
    torch.manual_seed(0)
    encoder = pe_spatial_t16_512(use_cls_token=False, window_size=32, global_blocks=(2, 5, 8, 11))
    selection = Selection("quad", pre_topk=2000, topk=None)
    return build_deta(DetaPyramid(encoder), num_classes=80, selection=selection, square_size=side)


def rcnn(side: int) -> Detector:
    """With 100 detections and masks of a view to merge."""
    torch.manual_seed(0)
    encoder = pe_spatial_t16_512(use_cls_token=False, window_size=32, global_blocks=(2, 5, 8, 11))
    return build_mask_rcnn(FeaturePyramid(encoder), num_classes=80, square_size=side, test_score_thresh=0.0)
