"""COCO 2017 with large-scale jitter, boxes only. Images without objects are learnt from too, as in all of DETR."""

from .....configs.common.coco import data, dataloader, evaluator

dataloader.train.dataset.masks = False
dataloader.train.dataset.skip_empty = False
dataloader.test.dataset.masks = False
evaluator.tasks = ["bbox"]
