"""A small segmenter from random weights on the embedded scenes, on a CPU or any GPU.

Make them first: `python tools/make_scenes.py --output datasets/scenes_2000 --train 2000 --videos 0`, then train with
`data.root=datasets/scenes_2000`. The 400 of `datasets/scenes` do as well, but are too few to tell all shapes apart.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    RandomFlip,
    SemSegFolder,
    build_test_loader,
    build_train_loader,
    count_sem_seg_classes,
)
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import SemSegEvaluator
from pe_dense.modeling.backbone import SpatialPriorPyramid
from pe_dense.modeling.segmentation import build_pyramid_segmenter

from ..common.small_encoder import encoder, lr_schedule, optimizer

data = dict(root="datasets/scenes", classes="${data.root}/annotations/sem_seg_classes.json")

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(SemSegFolder)(
            image_root="${data.root}/train", label_root="${data.root}/sem_seg_train", classes="${data.classes}"
        ),
        transforms=[L(RandomFlip)()],
        batch_size=4,
        num_workers=1,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(SemSegFolder)(
            image_root="${data.root}/val", label_root="${data.root}/sem_seg_val", classes="${data.classes}"
        ),
        transforms=[],
        batch_size=4,
        num_workers=1,
    ),
)
evaluator = L(SemSegEvaluator)(dataset="${dataloader.test.dataset}")
encoder.patch_size, encoder.grid_size = 16, 12  # the spatial prior sees what is smaller
model = L(build_pyramid_segmenter)(
    backbone=L(SpatialPriorPyramid)(
        backbone=encoder, out_channels=64, levels=["p2", "p3", "p4", "p5"], prior_channels=32
    ),
    num_classes=L(count_sem_seg_classes)(classes="${data.classes}"),
    dropout=0.0,
    class_weights=[0.2, 0.2, 1, 1, 1, 1, 1, 1],  # wall and floor are most of the pixels
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer.lr = 2e-3
train = L(TrainSettings)(
    output_dir="output/scenes_sem_seg", steps=2250, seed=0, clip_norm=3.0, eval_steps=750, checkpoint_steps=750,
    best_metric="sem_seg/mIoU",
)  # fmt: skip
