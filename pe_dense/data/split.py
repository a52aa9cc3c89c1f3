"""One set of images with labels, split into a part to train on and one to validate on, unless there are two sets."""

from __future__ import annotations

import logging
from typing import TypeVar

import numpy as np

from pe_dense.data.errors import DataError
from pe_dense.data.file_pairs import PairedImages
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

D = TypeVar("D", bound=PairedImages)


def training_share(dataset: D, validation: D, val_fraction: float = 0.2, split_seed: int = 0) -> D:
    """What to train on: the items of ``dataset`` that :func:`validation_share` leaves.

    Args:
        dataset: images to train on.
        validation: a separate set to validate on; the same images if there is none.
        val_fraction: share of the images that is held out if there is none.
        split_seed: decides which ones; the same seed and files always give the same parts.

    Raises:
        DataError: if nothing would be left.
    """
    held_out = validation_share(dataset, validation, val_fraction, split_seed)
    others = {pair.image for pair in held_out.pairs}
    kept = [i for i, pair in enumerate(dataset.pairs) if pair.image not in others]
    if not kept:
        raise DataError(
            f"all {counted(len(dataset), 'image')} are held out for validation; lower data.val_fraction, or give "
            "validation images that are not the training images"
        )
    logger.info("%s to train, %d to validate", counted(len(kept), "image"), len(held_out))
    return dataset.select(kept)


def validation_share(dataset: D, validation: D, val_fraction: float = 0.2, split_seed: int = 0) -> D:
    """What to validate on: a share of ``dataset`` if ``validation`` has the same images, else all of ``validation``.

    Args:
        dataset, validation, val_fraction, split_seed: see :func:`training_share`.

    Raises:
        DataError: if the share is empty.
    """
    names = sorted(pair.image for pair in dataset.pairs)
    if names != sorted(pair.image for pair in validation.pairs):
        return validation
    count = round(len(names) * val_fraction)
    if not 0 < count < len(names):
        raise DataError(
            f"data.val_fraction {val_fraction} of {counted(len(names), 'image')} would leave one part empty; give a "
            "fraction between 0 and 1, or separate validation images"
        )
    chosen = {names[i] for i in np.random.default_rng(split_seed).permutation(len(names))[:count]}
    return dataset.select(i for i, pair in enumerate(dataset.pairs) if pair.image in chosen)
