"""Linear head on the last layer of PE-Spatial B, frozen; CamVid. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.segmentation import build_linear_segmenter

from ..common.camvid import data, dataloader, evaluator
from ..common.frozen_spatial_b16 import backbone
from ..common.sem_seg_schedule import lr_schedule, optimizer, train

model = L(build_linear_segmenter)(
    backbone=backbone,
    num_classes="${data.num_classes}",
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
lr_schedule.warmup_steps = 200
train.steps = 4000
train.eval_steps = 1000
train.checkpoint_steps = 1000
train.output_dir = "output/camvid_linear_pe_spatial_b16"
