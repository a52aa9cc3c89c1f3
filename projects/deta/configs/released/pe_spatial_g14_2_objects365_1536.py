"""Stage 2 as it was released. Not trained here."""

from ..common.released import augmentation, choices, resize
from ..pe_spatial_g14_2_objects365_1536 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

dataloader.train.transforms = augmentation(1536)
dataloader.train.num_workers = 8
dataloader.test.transforms = resize(1536)
train.precision = "fp32"
train.init_from = "output/deta_pe_spatial_g14_1_released"
train.output_dir = "output/deta_pe_spatial_g14_2_released"
