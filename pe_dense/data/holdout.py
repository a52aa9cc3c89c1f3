"""The user's own data: one json is split into a training and a validation part, unless there are two."""

from __future__ import annotations

import logging

import numpy as np

from pe_dense.data.cache import load_table
from pe_dense.data.coco import CocoDataset
from pe_dense.data.errors import DataError
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)


def training_part(
    json_file: str,
    image_root: str,
    val_json: str | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
    skip_empty: bool = True,
    masks: bool | None = None,
) -> CocoDataset:
    """Images to train on: all of ``json_file`` if there is a ``val_json``, else what :func:`validation_part` leaves.

    Args:
        json_file: COCO json.
        image_root: folder of its images.
        val_json: json of a separate validation set, if there is one.
        val_fraction: share of the images of ``json_file`` that is held out if there is no ``val_json``.
        split_seed: decides which ones; the same seed and json always give the same parts.
        skip_empty: leave out images without objects.
        masks: see :class:`CocoDataset`.

    Raises:
        DataError: if a part would be empty.
    """
    dataset = CocoDataset(json_file, image_root, skip_empty=skip_empty, masks=masks)
    if val_json is not None:
        return dataset
    kept, held_out = _split(json_file, val_fraction, split_seed)
    part = dataset.select(kept)
    if not len(part):
        raise DataError(f"{json_file}: no image with an object is left to train on; lower data.val_fraction")
    logger.info(
        "%s: %s: %d to train%s, %d held out for validation",
        json_file, counted(len(kept) + len(held_out), "image"), len(kept),
        f" ({len(part)} with objects)" if len(part) < len(kept) else "", len(held_out),
    )  # fmt: skip
    return part


def validation_part(
    json_file: str,
    image_root: str,
    val_json: str | None = None,
    val_images: str | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
) -> CocoDataset:
    """Images to evaluate on: all of ``val_json`` if given, else the held-out share of ``json_file``.

    Args:
        val_images: folder of the images of ``val_json``, and of no use without that; ``None``: they are in
            ``image_root`` too.
        json_file, image_root, val_json, val_fraction, split_seed: see :func:`training_part`.

    Raises:
        DataError: if there are ``val_images`` but no ``val_json``, or the part would be empty.
    """
    if val_json is not None:
        return CocoDataset(val_json, val_images or image_root)
    if val_images is not None:
        raise DataError(f"val_images is {val_images} but there is no val_json; give both, or neither to hold some out")
    return CocoDataset(json_file, image_root).select(_split(json_file, val_fraction, split_seed)[1])


def validation_json(json_file: str, val_json: str | None = None) -> str:
    """The json that holds the ground truth of :func:`validation_part`."""
    return val_json or json_file


def _split(json_file: str, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image ids to train and to validate on."""
    ids = np.sort(load_table(json_file).arrays["image_ids"])
    held_out = round(len(ids) * fraction)
    if not 0 < held_out < len(ids):
        raise DataError(
            f"{json_file} has {counted(len(ids), 'image')}: data.val_fraction {fraction} would leave one part empty; "
            "give a fraction between 0 and 1 or a separate data.val_json"
        )
    order = np.random.default_rng(seed).permutation(len(ids))
    return ids[order[held_out:]], ids[order[:held_out]]
