"""Mask R-CNN on every layer of PE-Spatial L, frozen; COCO, 12 epochs at 1024 px. Not trained here.

As many detectors as it has layers train at once; `--layers` takes fewer.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_spatial_l14_448

from .coco_pe_spatial_b16 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.model.backbone.backbone = L(pe_spatial_l14_448)(weights="PE-Spatial-L14-448", patch_size=16)
train.output_dir = "output/probe_coco_pe_spatial_l14"
