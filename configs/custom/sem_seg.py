"""Fine-tune PE-Spatial B with a pyramid head on your own images and masks.

    python tools/train_net.py --config-file configs/custom/sem_seg.py data.images=D data.masks=D data.classes=F

The weights come from the Hugging Face hub; with a local file set ``model.backbone.backbone.weights=FILE``.
``model.backbone.trainable_blocks=0`` keeps the encoder frozen.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_sem_seg_classes
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.modeling.backbone import FeaturePyramid, pe_spatial_b16_512
from pe_dense.modeling.segmentation import build_pyramid_segmenter

from ..common.own_sem_seg import data, dataloader, evaluator

model = L(build_pyramid_segmenter)(
    backbone=L(FeaturePyramid)(
        backbone=L(pe_spatial_b16_512)(
            weights="PE-Spatial-B16-512", use_cls_token=False, drop_path_rate=0.1, checkpoint_every=1
        ),
        mode="per_level",
        layers=[3, 5, 7, 11],
        levels=["p2", "p3", "p4", "p5"],
    ),
    num_classes=L(count_sem_seg_classes)(classes="${data.classes}"),
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer = L(AdamW)(lr=1e-4, weight_decay=0.05, layer_decay=0.65)
lr_schedule = L(CosineSchedule)(warmup_steps=250)
train = L(TrainSettings)(
    output_dir="output/custom_sem_seg", epochs=40, seed=0, precision="bf16", clip_norm=1.0, eval_period=4,
    checkpoint_period=2, best_metric="sem_seg/mIoU",
)  # fmt: skip
