"""Three small tasks on one encoder, and the same tasks with encoders of their own."""

from __future__ import annotations

import copy
from typing import Any

import torch

from pe_dense.modeling.backbone import DenseModel, EncoderFeatures, EncoderShape, FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.depth import SigLoss, build_linear_depth
from pe_dense.modeling.detection import build_mask_rcnn
from pe_dense.modeling.multitask import MultiTaskModel
from pe_dense.modeling.segmentation import build_linear_segmenter
from pe_dense.structures import Instances

SIDE = 64


def make_encoder(**options: Any) -> PerceptionEncoder:
    return PerceptionEncoder(32, 3, 2, 64, patch_size=8, grid_size=8, use_ln_post=True, **options)


def make_tasks(encoder: PerceptionEncoder | EncoderShape) -> dict[str, DenseModel]:
    """A detector on a pyramid of the last block, depth from two blocks, segmentation from a normalised one."""
    return {
        "detection": build_mask_rcnn(
            FeaturePyramid(encoder, 16, levels=["p4", "p5"]),
            num_classes=3,
            square_size=None,
            conv_dim=16,
            fc_dim=32,
            anchor_sizes=[16, 32],
            rpn_batch_size_per_image=32,
            roi_batch_size_per_image=8,
            pre_nms_topk=(50, 50),
            post_nms_topk=(20, 20),
            test_score_thresh=0.0,
        ),
        "depth": build_linear_depth(
            EncoderFeatures(encoder, [0, 2]), bins=16, use_cls=False, losses={"loss_sig": SigLoss()}
        ),
        "sem_seg": build_linear_segmenter(EncoderFeatures(encoder, [1], norm=True), num_classes=4, norm=None),
    }


def make_model(**options: Any) -> MultiTaskModel:
    encoder = make_encoder()
    return MultiTaskModel(encoder, make_tasks(EncoderShape.of(encoder)), **options)


def single_models(model: MultiTaskModel) -> dict[str, DenseModel]:
    """The tasks of a model as single ones, each with a copy of its encoder."""
    singles = make_tasks(make_encoder())
    for name, single in singles.items():
        encoder = copy.deepcopy(model.backbone.backbone)
        encoder.requires_grad_(True)
        single.backbone.backbone = encoder
        single.load_state_dict({**model.tasks[name].state_dict(), **_named("backbone.backbone.", encoder)})
        single.train(model.training)
    return singles


def _named(prefix: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in module.state_dict().items()}


def labels_of(kind: str, generator: torch.Generator) -> dict[str, Any]:
    if kind == "depth":
        return {"depth": torch.rand(SIDE, SIDE, generator=generator) * 8 + 0.5}
    if kind == "sem_seg":
        return {"sem_seg": torch.randint(0, 4, (SIDE, SIDE), generator=generator)}
    boxes = torch.tensor([[4.0, 6.0, 40.0, 44.0], [30.0, 20.0, 60.0, 60.0]])
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist()):
        mask[y0:y1, x0:x1] = True
    return {"instances": Instances((SIDE, SIDE), boxes, torch.tensor([0, 2]), masks=masks)}


def make_sample(number: int, *kinds: str) -> dict[str, Any]:
    """A random image with labels of some kinds."""
    generator = torch.Generator().manual_seed(number)
    sample: dict[str, Any] = {
        "image": torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator),
        "height": SIDE,
        "width": SIDE,
        "image_id": number,
        "file_name": f"{number}.png",
    }
    for kind in kinds:
        sample.update(labels_of(kind, generator))
    return sample
