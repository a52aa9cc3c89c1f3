"""Linear depth head on the last layer of PE-Spatial B, frozen; KITTI, DINOv2's settings. Not trained here."""

from ..common.kitti import data, dataloader, evaluator
from ..nyu.linear1_pe_spatial_b16 import lr_schedule, model, optimizer, train

train.output_dir = "output/kitti_linear1_pe_spatial_b16"
