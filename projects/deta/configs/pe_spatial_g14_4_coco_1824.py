"""DETA on PE-Spatial G, stage 4 of 4: COCO at 1824 px, 3 epochs of 64 images a step, by SGD.

Meta published 65.2 box AP, 66.0 with test-time augmentation. Not trained here.
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import SGD

from .common.coco import data, dataloader, evaluator
from .common.g14 import choices, lr_schedule, model, train

model.num_classes = "${choices.coco.num_classes}"
model.class_columns = "${choices.coco.class_columns}"
model.backbone.backbone.drop_path_rate = 0.0
data.image_size = 1824
dataloader.train.batch_size = 64
optimizer = L(SGD)(
    lr="${choices.stage_4_lr}",
    momentum=0.9,
    weight_decay=1e-4,
    layer_decay="${choices.layer_decay}",
    decay_everything="${choices.decay_everything}",
    lr_multipliers={"*.sampling_offsets.*": 0.1},
)
lr_schedule.milestones = [2]
train.epochs = 3
train.init_from = "output/deta_pe_spatial_g14_3"
train.output_dir = "output/deta_pe_spatial_g14_4"
