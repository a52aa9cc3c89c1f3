"""Stage 4 as it was released. Not trained here."""

from ..common.released import augmentation, choices, resize
from ..pe_spatial_g14_4_coco_1824 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.bf16 = True  # the transformer computes in fp32
dataloader.train.transforms = augmentation(1824)
dataloader.train.num_workers = 8
dataloader.test.transforms = resize(1824)
train.precision = "fp32"
train.init_from = "output/deta_pe_spatial_g14_3_released"
train.output_dir = "output/deta_pe_spatial_g14_4_released"
