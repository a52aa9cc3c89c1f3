"""Stage 3 as it was released. Not trained here."""

from ..common.released import augmentation, choices, resize
from ..pe_spatial_g14_3_coco_1728 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.bf16 = True  # the transformer computes in fp32
dataloader.train.transforms = augmentation(1728)
dataloader.train.num_workers = 8
dataloader.test.transforms = resize(1728)
train.precision = "fp32"
train.init_from = "output/deta_pe_spatial_g14_2_released"
train.output_dir = "output/deta_pe_spatial_g14_3_released"
