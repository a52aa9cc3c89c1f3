"""DPT on four layers of PE-Spatial B, frozen; KITTI, DINOv2's settings. Not trained here."""

from ..common.kitti import data, dataloader, evaluator
from ..nyu.dpt_pe_spatial_b16 import lr_schedule, model, optimizer, train

train.output_dir = "output/kitti_dpt_pe_spatial_b16"
