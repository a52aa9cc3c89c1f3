"""A small segmenter from random weights; CamVid, on a CPU or any GPU."""

from pe_dense.config import LazyCall as L
from pe_dense.engine import TrainSettings
from pe_dense.modeling.backbone import SpatialPriorPyramid
from pe_dense.modeling.segmentation import build_pyramid_segmenter

from ..common.camvid import data, dataloader, evaluator
from ..common.small_encoder import encoder, lr_schedule, optimizer

data.crop_size = [176, 240]
dataloader.train.transforms[0].min_scale = 0.5
dataloader.train.transforms[0].max_scale = 1.0
dataloader.train.batch_size = 4
dataloader.train.num_workers = 1
dataloader.test.num_workers = 1
encoder.patch_size, encoder.grid_size = 16, 15  # the spatial prior sees what is smaller
model = L(build_pyramid_segmenter)(
    backbone=L(SpatialPriorPyramid)(
        backbone=encoder, out_channels=64, levels=["p2", "p3", "p4", "p5"], prior_channels=32
    ),
    num_classes="${data.num_classes}",
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
train = L(TrainSettings)(
    output_dir="output/camvid_small", steps=1500, seed=0, clip_norm=3.0, eval_steps=500, checkpoint_steps=500,
    best_metric="sem_seg/mIoU",
)  # fmt: skip
