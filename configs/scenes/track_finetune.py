"""The demo's detector and an identity head, all trained on videos: as `track_identity.py`, but the detector learns too.

It detects boxes only: the videos of tracking benchmarks have no masks.
"""

from .track_identity import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.freeze_detector = False
model.detector.with_masks = False
train.output_dir = "output/track_finetune"
train.init_skip = ["identity_head.", "roi_heads.mask_head."]
