"""Stage 1 as it was released. Not trained here."""

from ..common.released import augmentation, choices, resize
from ..pe_spatial_g14_1_objects365_1024 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

dataloader.train.transforms = augmentation(1024)
dataloader.train.num_workers = 8
dataloader.test.transforms = resize(1024)
train.precision = "fp32"
train.output_dir = "output/deta_pe_spatial_g14_1_released"
