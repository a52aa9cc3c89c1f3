"""Mask R-CNN on PE-Spatial B, COCO, 36 epochs at 1024 px.

Sensibly scaled from the released recipes; not trained here.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import FeaturePyramid, pe_spatial_b16_512
from pe_dense.modeling.detection import build_mask_rcnn

from ..common.coco import data, dataloader, evaluator
from ..common.schedule import lr_schedule, optimizer, train

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
        ),
    ),
    num_classes=80,
    square_size="${data.image_size}",
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer.lr = 0.0001
optimizer.layer_decay = 0.7
train.output_dir = "output/mask_rcnn_pe_spatial_b16_36ep"
