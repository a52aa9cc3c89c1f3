"""What the two released PE-G recipes share, quirks included (perception_models, apps/detection, 2025-12-18).

64 images a step (8 nodes of 8 GPUs, one image each). The release trained in fp16 with a gradient scaler, this is bf16.
"""

from .coco import data, dataloader, evaluator
from .schedule import lr_schedule, optimizer, train

optimizer.lr = 5e-5
optimizer.layer_decay = 0.9
optimizer.decay_everything = True  # norms, biases and positions are decayed too
lr_schedule.unit = "steps"
train.epochs = None
train.clip_norm = None
train.checkpoint_period = 0
train.checkpoint_steps = 5000
train.eval_period = 0
train.eval_steps = 5000
train.keep_last = 100
dataloader.train.transforms[1].shared_offset = True  # one random number places the crop along both axes

# of the tower
tower = dict(
    patch_size=16,
    window_size=32,
    global_blocks=[12, 24, 36, 49],
    abs_pos="tile",
    rope="rescaled",
    drop_path_rate=0.5,
    checkpoint_every=1,
    mask_padding=False,  # tokens that fill up windows take part
)
pixels = dict(mean=[127, 127, 127], std=[127, 127, 127])  # not the encoder's 127.5
