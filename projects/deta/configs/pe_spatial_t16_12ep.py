"""DETA on PE-Spatial T with a small transformer, COCO, 12 epochs at 1024 px on one GPU. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_spatial_t16_512
from projects.deta import DetaPyramid, build_deta

from .common.one_gpu import data, dataloader, evaluator, lr_schedule, optimizer, train

model = L(build_deta)(
    backbone=L(DetaPyramid)(
        backbone=L(pe_spatial_t16_512)(
            weights="PE-Spatial-T16-512",
            use_cls_token=False,
            window_size=32,
            global_blocks=[2, 5, 8, 11],
            abs_pos="tile",
            rope="rescaled",
            drop_path_rate=0.0,
            checkpoint_every=1,
        ),
    ),
    num_classes=80,
    square_size="${data.image_size}",
    checkpoint_layers=True,
    num_queries=300,
    num_encoder_layers=3,
    num_decoder_layers=3,
    feedforward_dim=1024,
)
train.output_dir = "output/deta_pe_spatial_t16_12ep"
