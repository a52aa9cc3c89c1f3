"""DETA on PE-Spatial G, stage 2 of 4: Objects365 at 1536 px, 6 epochs of 128 images a step. Not trained here."""

from .common.g14 import choices, lr_schedule, model, optimizer, train
from .common.objects365 import data, dataloader, evaluator

model.num_classes = "${choices.objects365.num_classes}"
model.class_columns = "${choices.objects365.class_columns}"
data.image_size = 1536
dataloader.train.batch_size = 128
lr_schedule.milestones = [4]  # the paper says 5
train.epochs = 6
train.init_from = "output/deta_pe_spatial_g14_1"
train.init_skip = "${choices.stage_2_skip}"
train.output_dir = "output/deta_pe_spatial_g14_2"
