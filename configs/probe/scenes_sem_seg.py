"""A linear segmentation head on every layer of a small frozen encoder, on the embedded scenes, on a CPU or any GPU.

Make the scenes first: `python tools/make_scenes.py --output datasets/scenes`. The encoder's weights are random; give a
trained one with `--encoder-from RUN`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import ColorJitter, RandomFlip, count_sem_seg_classes
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import EncoderFeatures, LayerProbe
from pe_dense.modeling.segmentation import build_linear_segmenter

from ..common.small_encoder import encoder as _encoder
from ..common.small_encoder import lr_schedule, optimizer
from ..scenes.sem_seg_small import data, dataloader
from ..scenes.sem_seg_small import evaluator as _evaluator

dataloader.train.transforms = [L(RandomFlip)(), L(ColorJitter)(brightness=0.2, contrast=0.2, saturation=0.2)]
model = L(LayerProbe)(
    model=L(build_linear_segmenter)(
        backbone=L(EncoderFeatures)(backbone=_encoder, layers=[-1], trainable_blocks=0),
        num_classes=L(count_sem_seg_classes)(classes="${data.classes}"),
        pixel_mean=[127.5, 127.5, 127.5],
        pixel_std=[127.5, 127.5, 127.5],
    ),
    layers=None,
)
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
train = L(TrainSettings)(
    output_dir="output/probe_scenes_sem_seg", epochs=6, seed=0, clip_norm=3.0, checkpoint_period=2, best_metric=None
)
