"""The release's values of the ``choices`` of g14.py, and its augmentation."""

from typing import Any

from pe_dense.config import LazyCall as L
from pe_dense.data import RandomChoice, RandomCrop, RandomFlip, ResizeShortestEdge

_UNUSED_COCO_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)

choices = dict(
    rope_reference=16,  # fixed in the code, with the comment that it may be a bug
    mask_padding=False,
    pixel_mean=[123.675, 116.28, 103.53],  # ImageNet's
    pixel_std=[58.395, 57.12, 57.375],
    layer_decay=None,  # the scripts ask for 0.9, but the code looks for another model's name
    decay_everything=True,
    objects365=dict(num_classes=366, class_columns=list(range(1, 366))),  # a column for every id from 0 on
    coco=dict(num_classes=91, class_columns=[i for i in range(1, 91) if i not in _UNUSED_COCO_IDS]),
    stage_2_skip=["class_embed."],  # the classifiers start anew although the classes are the same
    stage_4_lr=5e-5,
)


def augmentation(size: int) -> list[Any]:
    """For training images that are padded to ``size``: "LSJ" by name, but DETR's two ways with other numbers."""
    longest = size - 32
    return [
        L(RandomFlip)(),
        L(RandomChoice)(
            chains=[
                [L(ResizeShortestEdge)(short_edge_length=list(range(480, size, 32)), max_size=longest)],
                [
                    L(ResizeShortestEdge)(short_edge_length=[400, 500, 600]),
                    L(RandomCrop)(min_size=384, max_size=600),
                    *resize(size),
                ],
            ]
        ),
    ]


def resize(size: int) -> list[Any]:
    """Of test images."""
    return [L(ResizeShortestEdge)(short_edge_length=size - 32, max_size=size - 32)]
