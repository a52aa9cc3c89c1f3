"""Fine-tune PE-Spatial B with a pyramid head; ADE20K, 160,000 steps of 16 images at 512 px. Not trained here.

The optimiser is that of BEiT's and MAE's fine-tuning on ADE20K (arXiv 2106.08254, 2111.06377); PE publishes no such
result.
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW
from pe_dense.modeling.backbone import FeaturePyramid, pe_spatial_b16_512
from pe_dense.modeling.segmentation import SegInference, build_pyramid_segmenter

from ..common.ade20k import data, dataloader, evaluator
from ..common.sem_seg_schedule import lr_schedule, train

model = L(build_pyramid_segmenter)(
    backbone=L(FeaturePyramid)(
        backbone=L(pe_spatial_b16_512)(
            weights="PE-Spatial-B16-512", use_cls_token=False, drop_path_rate=0.1, checkpoint_every=1
        ),
        mode="per_level",
        layers=[3, 5, 7, 11],
        levels=["p2", "p3", "p4", "p5"],
    ),
    num_classes="${data.num_classes}",
    inference=L(SegInference)(short_side="${data.short_side}", crop="${data.crop_size}", stride=341),
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer = L(AdamW)(lr=1e-4, betas=[0.9, 0.999], weight_decay=0.05, layer_decay=0.65)
train.steps = 160000
train.precision = "bf16"
train.clip_norm = 1.0
train.output_dir = "output/ade20k_finetune_pe_spatial_b16"
