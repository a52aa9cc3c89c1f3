"""A small segmenter from random weights on your own images and masks, on a CPU or any GPU.

python tools/train_net.py --config-file configs/custom/sem_seg_small.py data.images=D data.masks=D data.classes=F
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_sem_seg_classes
from pe_dense.engine import TrainSettings
from pe_dense.modeling.backbone import SpatialPriorPyramid
from pe_dense.modeling.segmentation import build_pyramid_segmenter

from ..common.own_sem_seg import data, dataloader, evaluator
from ..common.small_encoder import encoder, lr_schedule, optimizer

data.short_side = 192
data.crop_size = [192, 256]
encoder.patch_size, encoder.grid_size = 16, 16  # the spatial prior sees what is smaller
model = L(build_pyramid_segmenter)(
    backbone=L(SpatialPriorPyramid)(
        backbone=encoder, out_channels=64, levels=["p2", "p3", "p4", "p5"], prior_channels=32
    ),
    num_classes=L(count_sem_seg_classes)(classes="${data.classes}"),
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
train = L(TrainSettings)(
    output_dir="output/custom_sem_seg_small", epochs=40, seed=0, clip_norm=3.0, eval_period=10, checkpoint_period=5,
    best_metric="sem_seg/mIoU",
)  # fmt: skip
