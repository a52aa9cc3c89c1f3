"""What the four stages of DETA on PE-Spatial G share (perception_models, apps/detection/DETA_pe, 2025-12-18).

``choices`` are the points of the release that look like oversights, with our values; released.py has the release's.
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, MultiStepSchedule, TrainSettings
from pe_dense.modeling.backbone import pe_spatial_g14_448
from projects.deta import DetaPyramid, build_deta

choices = dict(
    rope_reference=24,  # positions that a window or the image spans: in windows one each, as in pretraining
    mask_padding=True,  # tokens that fill up windows do not take part
    pixel_mean=[127.5, 127.5, 127.5],  # the encoder's own
    pixel_std=[127.5, 127.5, 127.5],
    layer_decay=0.9,
    decay_everything=False,  # norms, biases and positions are not decayed
    objects365=dict(num_classes=365, class_columns=None),
    coco=dict(num_classes=80, class_columns=None),
    stage_2_skip=[],  # the data is that of stage 1, so its classifiers stay
    stage_4_lr=5e-3,  # as in the paper
)
model = L(build_deta)(
    backbone=L(DetaPyramid)(
        backbone=L(pe_spatial_g14_448)(
            weights="PE-Spatial-G14-448",
            patch_size=16,
            grid_size=24,
            window_size=24,
            global_blocks=[12, 24, 36, 49],
            abs_pos="tile",
            rope="rescaled",
            rope_reference="${choices.rope_reference}",
            mask_padding="${choices.mask_padding}",
            drop_path_rate=0.5,
            checkpoint_every=1,
        ),
        bf16=False,
    ),
    num_classes="???",
    class_columns="???",
    square_size="${data.image_size}",
    pixel_mean="${choices.pixel_mean}",
    pixel_std="${choices.pixel_std}",
)
optimizer = L(AdamW)(
    lr=5e-5,
    weight_decay=1e-4,
    layer_decay="${choices.layer_decay}",
    decay_everything="${choices.decay_everything}",
    lr_multipliers={"*.sampling_offsets.*": 0.1},
)
lr_schedule = L(MultiStepSchedule)(milestones="???", gamma=0.1, unit="epochs")
train = L(TrainSettings)(
    output_dir="???",
    init_from=None,
    init_skip=[],
    epochs="???",
    seed=42,
    precision="bf16",
    clip_norm=0.1,
    ema_decay=None,
    eval_period=1,
    checkpoint_period=1,
)
