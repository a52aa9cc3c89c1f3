"""Linear head on the last layer of PE-Spatial B, frozen; Cityscapes, schedule as for ADE20K. Not trained here."""

from ..ade20k.linear_pe_spatial_b16 import lr_schedule, model, optimizer, train
from ..common.cityscapes import data, dataloader, evaluator

model.inference.stride = 512
train.output_dir = "output/cityscapes_linear_pe_spatial_b16"
