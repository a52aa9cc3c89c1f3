"""`make demo`: a small detector, trained from random weights on the embedded scenes in a few minutes on two cores."""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    CocoDataset,
    LargeScaleJitter,
    RandomFlip,
    ResizeShortestEdge,
    build_test_loader,
    build_train_loader,
    count_classes,
)
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import CocoEvaluator

from ..common.small_detector import lr_schedule, model, optimizer

data = dict(root="datasets/scenes")

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(CocoDataset)(
            json_file="${data.root}/annotations/instances_train.json",
            image_root="${data.root}/train",
            skip_empty=True,
        ),
        transforms=[L(RandomFlip)(), L(LargeScaleJitter)(size=160, min_scale=0.8, max_scale=1.25)],
        batch_size=4,
        num_workers=1,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(CocoDataset)(json_file="${data.root}/annotations/instances_val.json", image_root="${data.root}/val"),
        transforms=[L(ResizeShortestEdge)(short_edge_length=160, max_size=160)],
        batch_size=4,
        num_workers=1,
    ),
)
evaluator = L(CocoEvaluator)(json_file="${data.root}/annotations/instances_val.json")
model.num_classes = L(count_classes)(json_file="${data.root}/annotations/instances_train.json")
train = L(TrainSettings)(
    output_dir="output/demo", epochs=8, seed=0, clip_norm=3.0, eval_period=2, checkpoint_period=4, log_period=50
)
