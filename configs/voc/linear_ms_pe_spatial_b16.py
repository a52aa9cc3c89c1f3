"""Linear head on four layers of PE-Spatial B, frozen, tested at five scales and mirrored; VOC 2012.

DINOv2's settings ("+ms"). Not trained here.
"""

from .linear_pe_spatial_b16 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

data.short_side = 640
data.crop_size = 640
dataloader.train.transforms[1].min_scale = 1.0
dataloader.train.transforms[1].max_scale = 3.0
model.backbone.layers = [2, 5, 8, 11]
model.inference.stride = 320
model.inference.scales = [1.0, 1.32, 1.73, 2.28, 3.0]
model.inference.flip = True
train.output_dir = "output/voc_linear_ms_pe_spatial_b16"
