"""Mask R-CNN on PE-Spatial G, COCO, 36 epochs: the released recipe (57.8 box / 50.3 mask AP, published).

64 images a step (8 nodes of 8 GPUs, one image each). The release trained in fp16 with a gradient scaler, this one in
bf16. Not trained here.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import FeaturePyramid, pe_spatial_g14_448
from pe_dense.modeling.detection import build_mask_rcnn

from ..common.coco import data, dataloader, evaluator
from ..common.schedule import lr_schedule, optimizer, train

model = L(build_mask_rcnn)(
    backbone=L(FeaturePyramid)(
        backbone=L(pe_spatial_g14_448)(
            weights="PE-Spatial-G14-448",
            patch_size=16,
            window_size=32,
            global_blocks=[12, 24, 36, 49],
            abs_pos="tile",
            rope="rescaled",
            drop_path_rate=0.5,
            checkpoint_every=1,
            mask_padding=False,  # released: fill-up tokens take part
        ),
    ),
    num_classes=80,
    square_size="${data.image_size}",
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer.lr = 5e-5
optimizer.layer_decay = 0.9
optimizer.decay_everything = True  # released: norms, biases and positions are decayed too
lr_schedule.unit = "steps"
lr_schedule.milestones = [59000, 63916]
lr_schedule.warmup_steps = 250 * 66375 / 184375  # released: shrunk together with the schedule
train.epochs = None
train.steps = 66375
train.clip_norm = None
train.checkpoint_period = 0
train.checkpoint_steps = 5000
train.eval_period = 2.73  # 5000 steps
train.keep_last = 100
train.output_dir = "output/mask_rcnn_pe_spatial_g14_36ep"
dataloader.train.transforms[1].shared_offset = True  # released: one random number places the crop along both axes
model.pixel_mean = [127, 127, 127]  # released: not the encoder's 127.5
model.pixel_std = [127, 127, 127]
