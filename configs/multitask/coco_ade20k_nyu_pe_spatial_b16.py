"""Detection, segmentation and depth on one PE-Spatial B, each learnt from a data set of its own: COCO, ADE20K, NYU.

Sizes, shares, weights and schedule are our own choice, and not trained here. Expects the three data sets below
$PE_DENSE_DATASETS, or where ``data.coco``, ``data.ade20k`` and ``data.nyu`` say, as `configs/common` describes them.
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    ADE20K,
    CocoDataset,
    Crop,
    DataSource,
    FixedSizeCrop,
    GammaJitter,
    LargeScaleJitter,
    MixedDataset,
    NYUDepth,
    PhotometricDistortion,
    RandomFlip,
    RandomRotation,
    RandomScale,
    ResizeShortestEdge,
    build_mixed_train_loader,
    build_test_loader,
)
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.evaluation import CocoEvaluator, DepthEvaluator, SemSegEvaluator
from pe_dense.modeling.backbone import EncoderFeatures, EncoderShape, FeaturePyramid, pe_spatial_b16_512
from pe_dense.modeling.depth import build_dpt_depth
from pe_dense.modeling.detection import build_mask_rcnn
from pe_dense.modeling.multitask import MultiTaskModel
from pe_dense.modeling.segmentation import build_pyramid_segmenter

datasets = os.environ.get("PE_DENSE_DATASETS", "datasets")
data = dict(
    coco=os.path.join(datasets, "coco"),
    ade20k=os.path.join(datasets, "ade20k"),
    nyu=os.path.join(datasets, "nyu"),
    image_size=640,
    max_depth=10.0,
)

dataloader = dict(
    train=L(build_mixed_train_loader)(
        sources=dict(
            coco=L(DataSource)(
                dataset=L(CocoDataset)(
                    json_file="${data.coco}/annotations/instances_train2017.json",
                    image_root="${data.coco}/train2017",
                    skip_empty=True,
                ),
                transforms=[L(RandomFlip)(), L(LargeScaleJitter)(size="${data.image_size}", min_scale=0.5)],
                share=2,
            ),
            ade20k=L(DataSource)(
                dataset=L(ADE20K)(root="${data.ade20k}", split="train"),
                transforms=[
                    L(ResizeShortestEdge)(short_edge_length="${data.image_size}", max_size=2560),
                    L(RandomScale)(min_scale=0.5, max_scale=2.0),
                    L(FixedSizeCrop)(size="${data.image_size}", cat_max_ratio=0.75),
                    L(RandomFlip)(),
                    L(PhotometricDistortion)(),
                ],
                share=1,
            ),
            nyu=L(DataSource)(
                dataset=L(NYUDepth)(root="${data.nyu}", split="train"),
                transforms=[
                    L(Crop)(top=45, left=43, height=427, width=565),  # the frames have a white border
                    L(RandomRotation)(degrees=2.5, prob=0.5),
                    L(RandomFlip)(),
                    L(FixedSizeCrop)(size=[416, 544]),
                    L(GammaJitter)(prob=0.5, gamma=[0.9, 1.1], brightness=[0.75, 1.25], color=[0.9, 1.1]),
                ],
                share=1,
            ),
        ),
        batch_size=32,
        num_workers=4,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(MixedDataset)(
            parts=dict(
                coco=L(CocoDataset)(
                    json_file="${data.coco}/annotations/instances_val2017.json", image_root="${data.coco}/val2017"
                ),
                ade20k=L(ADE20K)(root="${data.ade20k}", split="val"),
                nyu=L(NYUDepth)(root="${data.nyu}", split="test"),
            )
        ),
        transforms=[L(ResizeShortestEdge)(short_edge_length=480, max_size="${data.image_size}")],  # NYU's own size
        batch_size=1,
        num_workers=4,
    ),
)
evaluator = dict(  # by the names of the parts of the test data
    coco=L(CocoEvaluator)(json_file="${data.coco}/annotations/instances_val2017.json"),
    ade20k=L(SemSegEvaluator)(dataset="${dataloader.test.dataset.parts.ade20k}"),
    nyu=L(DepthEvaluator)(
        dataset="${dataloader.test.dataset.parts.nyu}", max_depth="${data.max_depth}", crop="eigen_nyu"
    ),
)

shape = L(EncoderShape)(embed_dim=768, depth=12, patch_size=16)
pixels = dict(pixel_mean=[127.5, 127.5, 127.5], pixel_std=[127.5, 127.5, 127.5])
model = L(MultiTaskModel)(
    encoder=L(pe_spatial_b16_512)(
        weights="PE-Spatial-B16-512", use_cls_token=False, drop_path_rate=0.1, checkpoint_every=0
    ),
    tasks=dict(
        detection=L(build_mask_rcnn)(
            backbone=L(FeaturePyramid)(backbone=shape), num_classes=80, square_size=None, **pixels
        ),
        sem_seg=L(build_pyramid_segmenter)(
            backbone=L(FeaturePyramid)(
                backbone=shape, mode="per_level", layers=[3, 5, 7, 11], levels=["p2", "p3", "p4", "p5"]
            ),
            num_classes=150,
            **pixels,
        ),
        depth=L(build_dpt_depth)(
            backbone=L(EncoderFeatures)(backbone=shape, layers=[2, 5, 8, 11]),
            max_depth="${data.max_depth}",
            channels=256,
            readout="ignore",  # the encoder runs without a class token
            **pixels,
        ),
    ),
    loss_weights=dict(detection=1.0, sem_seg=1.0, depth=1.0),
    trainable_blocks=None,
)
optimizer = L(AdamW)(lr=1e-4, betas=[0.9, 0.999], weight_decay=0.05, layer_decay=0.7)
lr_schedule = L(CosineSchedule)(warmup_steps=1500)
train = L(TrainSettings)(
    output_dir="output/coco_ade20k_nyu_pe_spatial_b16",
    steps=180000,
    seed=0,
    precision="bf16",
    clip_norm=1.0,
    eval_steps=15000,
    checkpoint_steps=5000,
)
