"""DETA on PE-Spatial G, stage 3 of 4: COCO at 1728 px, 12 epochs of 64 images a step. Not trained here."""

from .common.coco import data, dataloader, evaluator
from .common.g14 import choices, lr_schedule, model, optimizer, train

model.num_classes = "${choices.coco.num_classes}"
model.class_columns = "${choices.coco.class_columns}"
model.backbone.backbone.drop_path_rate = 0.4
data.image_size = 1728
dataloader.train.batch_size = 64
lr_schedule.milestones = [10]  # the paper says 8
train.epochs = 12
train.init_from = "output/deta_pe_spatial_g14_2"
train.init_skip = ["class_embed."]  # other classes
train.output_dir = "output/deta_pe_spatial_g14_3"
