"""Linear depth head on four layers of PE-Spatial B, frozen; KITTI, DINOv2's settings. Not trained here."""

from ..common.kitti import data, dataloader, evaluator
from ..nyu.linear4_pe_spatial_b16 import lr_schedule, model, optimizer, train

train.output_dir = "output/kitti_linear4_pe_spatial_b16"
