"""Images sorted into a folder for each class: set ``data.train`` and ``data.val``."""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    CenterCrop,
    ClassFolder,
    RandomFlip,
    RandomResizedCrop,
    ResizeShortestEdge,
    build_test_loader,
    build_train_loader,
)
from pe_dense.evaluation import ClassificationEvaluator

data = dict(train="???", val="???", short_side=256, crop_size=224)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(ClassFolder)(root="${data.train}"),
        transforms=[L(RandomResizedCrop)(size="${data.crop_size}"), L(RandomFlip)()],
        batch_size=256,
        num_workers=4,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(ClassFolder)(root="${data.val}", classes_of="${data.train}"),
        transforms=[
            L(ResizeShortestEdge)(short_edge_length="${data.short_side}"),
            L(CenterCrop)(size="${data.crop_size}"),
        ],
        batch_size=64,
        num_workers=4,
    ),
)
evaluator = L(ClassificationEvaluator)(dataset="${dataloader.test.dataset}")
