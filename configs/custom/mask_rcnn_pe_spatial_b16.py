"""Fine-tune Mask R-CNN on PE-Spatial B with your own COCO-format data.

    python tools/train_net.py --config-file configs/custom/mask_rcnn_pe_spatial_b16.py data.json=J data.images=DIR

Needs a GPU with about 24 GB (not measured). The weights come from the Hugging Face hub; with a local file set
``model.backbone.backbone.weights=FILE``. A json without masks trains boxes only; with masks
``model.with_masks=false`` does.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_classes, has_masks
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.modeling.backbone import FeaturePyramid, pe_spatial_b16_512
from pe_dense.modeling.detection import build_mask_rcnn

from ..common.own_data import data, dataloader, evaluator

model = L(build_mask_rcnn)(
    backbone=L(FeaturePyramid)(
        backbone=L(pe_spatial_b16_512)(
            weights="PE-Spatial-B16-512",
            use_cls_token=False,
            window_size=32,
            global_blocks=[2, 5, 8, 11],
            abs_pos="tile",
            rope="rescaled",
            drop_path_rate=0.1,
            checkpoint_every=1,
        ),
    ),
    num_classes=L(count_classes)(json_file="${data.json}"),
    with_masks=L(has_masks)(json_file="${data.json}"),
    square_size="${data.image_size}",
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer = L(AdamW)(lr=1e-4, weight_decay=0.1, layer_decay=0.7)
lr_schedule = L(CosineSchedule)(warmup_steps=250)
train = L(TrainSettings)(
    output_dir="output/custom", epochs=24, seed=0, precision="bf16", clip_norm=1.0, eval_period=2, checkpoint_period=1
)
