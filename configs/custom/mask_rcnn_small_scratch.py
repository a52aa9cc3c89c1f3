"""Train a small Mask R-CNN from random weights with your own COCO-format data, on a CPU or any GPU.

    python tools/train_net.py --config-file configs/custom/mask_rcnn_small_scratch.py data.json=J data.images=DIR

A json without masks trains boxes only; with masks ``model.with_masks=false`` does.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_classes, has_masks
from pe_dense.engine import TrainSettings

from ..common.own_data import data, dataloader, evaluator
from ..common.small_detector import lr_schedule, model, optimizer

data.image_size = 256
dataloader.train.batch_size = 4
dataloader.train.transforms[1].min_scale = 0.8  # a wide range of scales pays only in long training
dataloader.train.transforms[1].max_scale = 1.25
# in training an upright and a lying image make a square batch: a test image alone must have the same positions
model.square_size = "${data.image_size}"
model.num_classes = L(count_classes)(json_file="${data.json}")
model.with_masks = L(has_masks)(json_file="${data.json}")
train = L(TrainSettings)(
    output_dir="output/custom_small", epochs=24, seed=0, clip_norm=3.0, eval_period=6, checkpoint_period=3
)
