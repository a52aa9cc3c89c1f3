"""A predictor from a checkpoint, a config, or both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from pe_dense.config import apply_overrides, instantiate, load_config
from pe_dense.engine.checkpoint import load_checkpoint, load_weights
from pe_dense.engine.run import config_of_checkpoint, without_pretrained
from pe_dense.evaluation.json_file import read_json
from pe_dense.prediction.predictor import Predictor
from pe_dense.structures import Categories

logger = logging.getLogger(__name__)


def load_predictor(
    checkpoint: str | Path | None = None,
    config_file: str | Path | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    score_threshold: float = 0.0,
    class_names: str | Path | None = None,
) -> Predictor:
    """Model, test transforms and class names for prediction.

    Args:
        checkpoint: a checkpoint, or the folder of a run (its ``best.safetensors``, else the newest). Without a config
            file it is all that is needed.
        config_file: where model and test transforms come from instead of the checkpoint. Without a checkpoint the model
            loads the ``weights`` that the config names.
        overrides: changes to that config, e.g. ``["dataloader.test.transforms.0.short_edge_length=1024"]``.
        device: "auto", "cpu", "cuda" or "cuda:N".
        score_threshold: objects below it are left out.
        class_names: COCO-format json with the ``categories``, for models whose checkpoint does not hold them.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if there are no weights to predict with, or the parts do not fit together.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"the score threshold must lie between 0 and 1, it is {score_threshold}")
    if checkpoint is None and config_file is None:
        raise ValueError("give a checkpoint, a config file, or both")
    saved = load_checkpoint(checkpoint) if checkpoint is not None else None
    if config_file is not None:
        cfg = load_config(config_file, overrides)
    else:
        assert saved is not None
        cfg = apply_overrides(config_of_checkpoint(saved), overrides)
    categories = None
    if saved is None or checkpoint is None:
        if without_pretrained(cfg) == cfg:
            raise ValueError(f"config {config_file} names no weights: give a checkpoint too")
        model = instantiate(cfg.model)
    else:
        model = instantiate(without_pretrained(cfg).model)
        load_weights(model, saved)
        logger.info("weights of %s (step %d)", saved.path, saved.step)
        categories = Categories.from_json(saved.categories) if saved.categories is not None else None
    if class_names is not None:
        categories = _read_categories(class_names)
    transforms = instantiate(cfg.dataloader.test.transforms)
    categories = _checked_categories(model, categories)
    precision, labels = cfg.train.get("precision", "fp32"), None if saved is None else saved.pixel_classes
    return Predictor(model, transforms, categories, device, score_threshold, precision, labels)


def _read_categories(path: str | Path) -> Categories:
    content = read_json(path, "class names")
    rows = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise ValueError(f"class names file {path} has no list 'categories' of objects with 'id' and 'name'")
    return Categories.from_json(rows)


def _checked_categories(model: nn.Module, categories: Categories | None) -> Categories | None:
    """Categories that fit the model; numbers for names when there are none."""
    num_classes = getattr(model, "num_classes", None)
    if num_classes is None or (categories is not None and len(categories) == num_classes):
        return categories
    if categories is not None:
        raise ValueError(
            f"the model has {num_classes} classes but there are {len(categories)} class names; "
            f"give the json of the data that the model was trained on"
        )
    logger.warning("the class names are unknown: calling them class_1 to class_%d", num_classes)
    numbers = range(1, num_classes + 1)
    return Categories(tuple(numbers), tuple(f"class_{n}" for n in numbers))
