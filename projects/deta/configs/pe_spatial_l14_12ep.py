"""DETA on PE-Spatial L (patches resized to 16 px), COCO, 12 epochs at 1024 px on one GPU. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_spatial_l14_448
from projects.deta import DetaPyramid, build_deta

from .common.one_gpu import data, dataloader, evaluator, lr_schedule, optimizer, train

model = L(build_deta)(
    backbone=L(DetaPyramid)(
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
    checkpoint_layers=True,
)
optimizer.layer_decay = 0.8
train.output_dir = "output/deta_pe_spatial_l14_12ep"
