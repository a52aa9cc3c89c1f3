"""Mask R-CNN on PE-Core G, LVIS v1, 75 epochs (of COCO's length): the released recipe.

Meta published 51.9 box / 47.9 mask AP. Not trained here.
"""

from ..coco.mask_rcnn_pe_core_g14_75ep import lr_schedule, model, optimizer, pixels, train
from ..common.lvis import data, dataloader, evaluator, set_lvis_head

set_lvis_head(model)
dataloader.train.transforms[1].shared_offset = True  # one random number places the crop along both axes
train.eval_steps = 30000
train.output_dir = "output/lvis_mask_rcnn_pe_core_g14_75ep"
