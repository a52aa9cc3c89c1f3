"""Train a small DETA from random weights with your own COCO-format data, on a CPU or any GPU.

    python tools/train_net.py --config-file projects/deta/configs/small_scratch.py data.json=J data.images=DIR

A json without masks trains boxes only; with masks ``model.with_masks=false`` does.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_classes, has_masks
from pe_dense.engine import TrainSettings
from projects.deta import Noise, QualityFocal

from ....configs.common.own_data import data, dataloader, evaluator
from .scenes_small import lr_schedule, model, optimizer

data.image_size = 256
dataloader.train.batch_size = 4
dataloader.train.transforms[1].min_scale = 0.8  # a wide range of scales pays only in long training
dataloader.train.transforms[1].max_scale = 1.25
model.backbone.backbone.grid_size = 16
model.num_classes = L(count_classes)(json_file="${data.json}")
model.num_queries = 100
model.num_levels = 5
model.anchor_size = 0.04
model.selection = None
model.classification = L(QualityFocal)()
model.denoising = L(Noise)()
model.with_masks = L(has_masks)(json_file="${data.json}")
model.square_size = "${data.image_size}"  # a test image alone then has the positions of the training
train = L(TrainSettings)(
    output_dir="output/deta_small", epochs=24, seed=0, clip_norm=3.0, eval_period=6, checkpoint_period=3
)
