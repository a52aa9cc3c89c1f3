"""DETA on PE-Spatial G, stage 1 of 4: Objects365 at 1024 px, 12 epochs of 256 images a step. Not trained here."""

from .common.g14 import choices, lr_schedule, model, optimizer, train
from .common.objects365 import data, dataloader, evaluator

model.num_classes = "${choices.objects365.num_classes}"
model.class_columns = "${choices.objects365.class_columns}"
data.image_size = 1024
dataloader.train.batch_size = 256
optimizer.lr = 2e-4
lr_schedule.milestones = [10]
train.epochs = 12
train.eval_period = 2
train.output_dir = "output/deta_pe_spatial_g14_1"
