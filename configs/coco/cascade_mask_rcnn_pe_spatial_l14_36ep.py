"""Cascade Mask R-CNN on PE-Spatial L, COCO, 36 epochs at 1024 px.

Sensibly scaled from the released recipes; not trained here.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import FeaturePyramid, pe_spatial_l14_448
from pe_dense.modeling.detection import build_cascade_mask_rcnn

from ..common.coco import data, dataloader, evaluator
from ..common.schedule import lr_schedule, optimizer, train

model = L(build_cascade_mask_rcnn)(
    backbone=L(FeaturePyramid)(
        backbone=L(pe_spatial_l14_448)(
            weights="PE-Spatial-L14-448",
            patch_size=16,
            use_cls_token=False,
            window_size=32,
            global_blocks=[5, 11, 17, 23],
            abs_pos="tile",
            rope="rescaled",
            drop_path_rate=0.4,
            checkpoint_every=1,
        ),
    ),
    num_classes=80,
    square_size="${data.image_size}",
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer.layer_decay = 0.8
train.output_dir = "output/cascade_mask_rcnn_pe_spatial_l14_36ep"
