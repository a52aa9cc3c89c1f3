"""Detection, depth and segmentation on one small encoder from random weights: the embedded scenes, on a CPU or any GPU.

Every image has all labels. Make the scenes first: `python tools/make_scenes.py --output datasets/scenes`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    CocoDataset,
    DepthList,
    GammaJitter,
    JointDataset,
    RandomFlip,
    SemSegFolder,
    build_test_loader,
    build_train_loader,
    count_classes,
    count_sem_seg_classes,
)
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import CocoEvaluator, DepthEvaluator, SemSegEvaluator
from pe_dense.modeling.backbone import EncoderFeatures, EncoderShape, FeaturePyramid
from pe_dense.modeling.depth import SigLoss, build_linear_depth
from pe_dense.modeling.multitask import MultiTaskModel
from pe_dense.modeling.segmentation import build_pyramid_segmenter

from ..common.small_detector import model as detection
from ..common.small_encoder import encoder, lr_schedule, optimizer

data = dict(
    root="datasets/scenes",
    train_json="${data.root}/annotations/instances_train.json",
    val_json="${data.root}/annotations/instances_val.json",
    classes="${data.root}/annotations/sem_seg_classes.json",
    max_depth=15.0,
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(JointDataset)(
            detection=L(CocoDataset)(json_file="${data.train_json}", image_root="${data.root}/train"),
            depth=L(DepthList)(images="${data.root}/train", depths="${data.root}/depth_train", scale=1000),
            sem_seg=L(SemSegFolder)(
                image_root="${data.root}/train", label_root="${data.root}/sem_seg_train", classes="${data.classes}"
            ),
        ),
        transforms=[L(RandomFlip)(), L(GammaJitter)()],
        batch_size=8,
        num_workers=1,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(JointDataset)(
            detection=L(CocoDataset)(json_file="${data.val_json}", image_root="${data.root}/val"),
            depth=L(DepthList)(images="${data.root}/val", depths="${data.root}/depth_val", scale=1000),
            sem_seg=L(SemSegFolder)(
                image_root="${data.root}/val", label_root="${data.root}/sem_seg_val", classes="${data.classes}"
            ),
        ),
        transforms=[],
        batch_size=4,
        num_workers=1,
    ),
)
evaluator = dict(  # by the names of the parts of the test data
    detection=L(CocoEvaluator)(json_file="${data.val_json}"),
    depth=L(DepthEvaluator)(dataset="${dataloader.test.dataset.depth}", max_depth="${data.max_depth}"),
    sem_seg=L(SemSegEvaluator)(dataset="${dataloader.test.dataset.sem_seg}"),
)

shape = L(EncoderShape)(
    embed_dim="${model.encoder.embed_dim}", depth="${model.encoder.depth}", patch_size="${model.encoder.patch_size}"
)
pixels = dict(pixel_mean=[127.5, 127.5, 127.5], pixel_std=[127.5, 127.5, 127.5])
detection.backbone.backbone = shape
detection.backbone.levels = ["p3", "p4", "p5"]  # strides 4, 8 and 16: patches are 8 pixels wide
detection.num_classes = L(count_classes)(json_file="${data.train_json}")
depth = L(build_linear_depth)(
    backbone=L(EncoderFeatures)(backbone=shape, layers=[0, 1, 2, 3]),
    max_depth="${data.max_depth}",
    bins=64,
    use_cls=False,  # the encoder has none
    losses=dict(loss_sig=L(SigLoss)()),  # without the 100 steps of warm-up of long schedules
    **pixels,
)
sem_seg = L(build_pyramid_segmenter)(
    backbone=L(FeaturePyramid)(backbone=shape, out_channels=64, levels=["p3", "p4", "p5"]),
    num_classes=L(count_sem_seg_classes)(classes="${data.classes}"),
    **pixels,
)
model = L(MultiTaskModel)(
    encoder=encoder,
    tasks=dict(detection=detection, depth=depth, sem_seg=sem_seg),
    loss_weights=dict(detection=1.0, depth=2.0, sem_seg=1.0),  # with 1, AbsRel is 5 % worse than alone
    trainable_blocks=None,
)
train = L(TrainSettings)(
    output_dir="output/scenes_multitask", epochs=8, seed=0, clip_norm=3.0, eval_period=4, checkpoint_period=4
)
