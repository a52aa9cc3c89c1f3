"""Your own data in COCO format: set ``data.json`` and ``data.images``, nothing else.

Classes come from the json, and so does whether there are masks to evaluate. A fifth of the images, always the same, is
held out for evaluation; if you have a separate validation set, give ``data.val_json`` and ``data.val_images``.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    LargeScaleJitter,
    RandomFlip,
    ResizeShortestEdge,
    build_test_loader,
    build_train_loader,
    training_part,
    validation_json,
    validation_part,
)
from pe_dense.evaluation import CocoEvaluator

data = dict(json="???", images="???", val_json=None, val_images=None, val_fraction=0.2, split_seed=0, image_size=1024)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(training_part)(
            json_file="${data.json}",
            image_root="${data.images}",
            val_json="${data.val_json}",
            val_fraction="${data.val_fraction}",
            split_seed="${data.split_seed}",
        ),
        transforms=[
            L(RandomFlip)(),
            L(LargeScaleJitter)(size="${data.image_size}", min_scale=0.5, max_scale=2.0),
        ],
        batch_size=8,
        num_workers=2,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(validation_part)(
            json_file="${data.json}",
            image_root="${data.images}",
            val_json="${data.val_json}",
            val_images="${data.val_images}",
            val_fraction="${data.val_fraction}",
            split_seed="${data.split_seed}",
        ),
        transforms=[L(ResizeShortestEdge)(short_edge_length="${data.image_size}", max_size="${data.image_size}")],
        batch_size=1,
        num_workers=2,
    ),
)
evaluator = L(CocoEvaluator)(
    json_file=L(validation_json)(json_file="${data.json}", val_json="${data.val_json}"),
    tasks=None,  # boxes, and masks if the json has them and the model predicts them
)
