"""A small DETA, trained from random weights on the embedded scenes, on a CPU or any GPU.

Make the scenes first: `python tools/make_scenes.py --output datasets/scenes`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_classes
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.modeling.backbone import PerceptionEncoder, SpatialPriorPyramid
from projects.deta import Selection, build_deta

from ....configs.demo.mask_rcnn_scenes import data, dataloader, evaluator

model = L(build_deta)(
    backbone=L(SpatialPriorPyramid)(  # the prior sees what is smaller than a patch
        backbone=L(PerceptionEncoder)(
            embed_dim=96, depth=3, num_heads=3, mlp_dim=384, patch_size=16, grid_size=10, layer_scale=0.1
        ),
        out_channels=64,
        levels=["p3", "p4", "p5"],
        prior_channels=32,
        prior_stride=4,
    ),
    num_classes=L(count_classes)(json_file="${data.root}/annotations/instances_train.json"),
    num_queries=60,
    hidden_dim=96,
    num_heads=4,
    num_encoder_layers=1,
    num_decoder_layers=2,
    feedforward_dim=256,
    num_levels=3,
    pre_nms_topk=200,
    anchor_size=0.1,
    class_weight=2.0,
    selection=L(Selection)(iou_threshold=0.6, pre_topk=500, topk=50),
)
dataloader.train.dataset.masks = False
evaluator.tasks = ["bbox"]
optimizer = L(AdamW)(lr=1e-3, weight_decay=0.05)
lr_schedule = L(CosineSchedule)(warmup_steps=100)
train = L(TrainSettings)(
    output_dir="output/deta_scenes", epochs=12, seed=0, clip_norm=3.0, eval_period=4, checkpoint_period=4
)
