"""Linear head on the last layer of PE-Spatial B, frozen; ADE20K, DINOv2's settings. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.segmentation import SegInference, build_linear_segmenter

from ..common.ade20k import data, dataloader, evaluator
from ..common.frozen_spatial_b16 import backbone
from ..common.sem_seg_schedule import lr_schedule, optimizer, train

model = L(build_linear_segmenter)(
    backbone=backbone,
    num_classes="${data.num_classes}",
    norm="sync_bn",
    inference=L(SegInference)(short_side="${data.short_side}", crop="${data.crop_size}", stride=341),
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
train.output_dir = "output/ade20k_linear_pe_spatial_b16"
