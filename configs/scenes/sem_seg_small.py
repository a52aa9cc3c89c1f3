"""A small segmenter from random weights on the embedded scenes, on a CPU or any GPU.

Make them first: `python tools/make_scenes.py`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    ColorJitter,
    RandomFlip,
    SemSegFolder,
    build_test_loader,
    build_train_loader,
    count_sem_seg_classes,
)
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import SemSegEvaluator
from pe_dense.modeling.backbone import FeaturePyramid
from pe_dense.modeling.segmentation import build_pyramid_segmenter

from ..common.small_encoder import encoder, lr_schedule, optimizer

data = dict(root="datasets/scenes", classes="${data.root}/annotations/sem_seg_classes.json")

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(SemSegFolder)(
            image_root="${data.root}/train", label_root="${data.root}/sem_seg_train", classes="${data.classes}"
        ),
        transforms=[L(RandomFlip)(), L(ColorJitter)(brightness=0.2, contrast=0.2, saturation=0.2)],
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
model = L(build_pyramid_segmenter)(
    backbone=L(FeaturePyramid)(backbone=encoder, out_channels=64, levels=["p3", "p4", "p5"]),
    num_classes=L(count_sem_seg_classes)(classes="${data.classes}"),
    dropout=0.0,
    class_weights=[0.2, 0.2, 1, 1, 1, 1, 1, 1],  # wall and floor are most of the pixels
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
encoder.layer_scale = 1.0  # small initial values help deep encoders, and slow shallow ones down
optimizer.lr = 2e-3
train = L(TrainSettings)(
    output_dir="output/scenes_sem_seg", epochs=12, seed=0, clip_norm=3.0, eval_period=4, checkpoint_period=4,
    best_metric="sem_seg/mIoU",
)  # fmt: skip
