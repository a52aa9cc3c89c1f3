"""How much more often images of rare classes are to be seen (LVIS, arXiv 1908.03195, appendix B.2)."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)


def repeat_factors(dataset: Any, threshold: float) -> np.ndarray:
    """How often each image comes in an epoch on average: M float64, at least 1.

    With f the share of the images that have a class, its factor is max(1, sqrt(threshold / f)); an image has the
    largest factor of its classes, and 1 without any.

    Args:
        dataset: with ``object_classes()``, as :class:`~pe_dense.data.coco.CocoDataset` has it.
        threshold: share of the images from which a class is not repeated.

    Raises:
        ValueError: if the data set does not tell its classes or the threshold is no share.
    """
    if not hasattr(dataset, "object_classes"):
        raise ValueError(
            f"repeat_threshold goes by the classes of objects, which a {type(dataset).__name__} does not tell; use it "
            "with a CocoDataset, or leave it out"
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"repeat_threshold {threshold} is not a share of the images; give 0.001, as on LVIS, or null")
    items, classes = dataset.object_classes()
    with np.errstate(divide="ignore"):  # classes without images
        shares = images_per_class(items, classes, len(dataset.categories)) / len(dataset)
        of_class = np.maximum(1.0, np.sqrt(threshold / shares))
    factors = np.ones(len(dataset))
    np.maximum.at(factors, items, of_class[classes])
    logger.info(
        "repeating images of classes in fewer than %g %% of them: %d of %d images, each at most %.1f times; an epoch "
        "has %.1f %% more images",
        100 * threshold, (factors > 1).sum(), len(dataset), factors.max(), 100 * factors.mean() - 100,
    )  # fmt: skip
    return factors


def images_per_class(items: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """K int64: images that have an object of each class, given image and class of every object."""
    pairs = np.unique(items.astype(np.int64) * num_classes + classes)
    return np.bincount(pairs % num_classes, minlength=num_classes).astype(np.int64)
