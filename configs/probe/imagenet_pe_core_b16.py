"""Nearest neighbours and a linear head on every layer of PE-Core B, frozen; ImageNet. Not trained here.

Expects train/ and val/ with a folder for each class below ``data.root`` (or $PE_DENSE_DATASETS/imagenet). The linear
head learns with SGD on randomly cropped images, in the manner of DINO's protocol (arXiv 2104.14294); DINOv2's search
over learning rates is not done.
"""

import os

from .custom_classes import data, dataloader, evaluator, knn, lr_schedule, model, optimizer, train

data.root = os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "imagenet")
data.train = "${data.root}/train"
data.val = "${data.root}/val"
dataloader.train.batch_size = 1024
train.epochs = 100
train.eval_period = 10
train.output_dir = "output/probe_imagenet_pe_core_b16"
