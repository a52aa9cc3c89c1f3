"""A released detector, ready to predict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from pe_dense.config import instantiate, load_config
from pe_dense.engine import distributed as dist
from pe_dense.engine.build import without_pretrained
from pe_dense.model_zoo.entries import find_entry
from pe_dense.model_zoo.files import find_file
from pe_dense.model_zoo.integrity import check_against_hub, record_file
from pe_dense.modeling.backbone import WeightsError
from pe_dense.prediction import Predictor


def load(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str = "auto",
    score_threshold: float = 0.0,
    overrides: Sequence[str] = (),
    verify: bool = False,
) -> Predictor:
    """A released detector with its class names and the transforms of its test images.

    Args:
        name: such as ``mask_rcnn_pe_spatial_g_coco``; :data:`ENTRIES` has all of them.
        weights: its file; ``None`` finds or fetches it, see :func:`find_file`.
        device: see :func:`~pe_dense.engine.settings.pick_device`.
        score_threshold: objects below it are left out.
        overrides: changes to the released config, e.g. ``["dataloader.test.transforms.0.max_size=800"]``.
        verify: compare the file's SHA-256 with that of its first use in any case.

    Returns:
        ``predictor("street.jpg").boxes``; ``predictor.model``, ``predictor.categories``, ``predictor.transforms``.

    Raises:
        ValueError: if no detector has the name, or the score threshold or an override is wrong.
        FileNotFoundError: if the file is not there and cannot be fetched.
        WeightsError: if the file has changed since its first use, cannot be read, or is of another model.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"the score threshold must lie between 0 and 1, it is {score_threshold}")
    cfg = released_config(name, weights, overrides, verify)
    transforms = instantiate(cfg.dataloader.test.transforms)
    categories = find_entry(name).categories
    return Predictor(build_model(cfg), transforms, categories, device, score_threshold, cfg.train.precision)


def released_config(
    name: str, weights: str | os.PathLike[str] | None = None, overrides: Sequence[str] = (), verify: bool = False
) -> DictConfig:
    """A released detector's recipe (:func:`recipe`) with the file of its weights as ``model.weights``.

    Args:
        name, weights, verify: see :func:`load`.
        overrides: changes to the recipe; ``model.weights=PATH`` is another way to give the file.

    Raises:
        ValueError, FileNotFoundError, WeightsError: see :func:`load`.
    """
    cfg = recipe(name, overrides)
    path = find_file(name, weights if weights is not None else cfg.model.get("weights"), verify)
    cfg = without_pretrained(cfg)  # the file has the encoder too
    cfg.model.weights = str(Path(path).absolute())
    return cfg


def recipe(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """A released detector's recipe, set up for evaluation: in float32, as in the release, with results in
    ``output/zoo/NAME``.

    Raises:
        ValueError: if no detector has the name, or an override is wrong.
    """
    entry = find_entry(name)
    released = ["train.precision=fp32", f"train.output_dir=output/zoo/{name}", *entry.changes]
    return load_config(entry.config_file, [*released, *overrides])


def build_model(cfg: DictConfig) -> nn.Module:
    """The model, on the CPU. Its weights are the file's pages: they are read when they are used, and take no memory
    twice. At the file's first use its size and SHA-256 are recorded.

    Raises:
        WeightsError: if the file cannot be read, is of another model, or is not what the hub has.
    """
    weights = Path(cfg.model.weights)
    try:
        with torch.device("meta"):
            model: nn.Module = instantiate(cfg.model)
    except WeightsError:
        check_against_hub(weights)  # says what to delete
        raise
    if dist.is_main():
        record_file(weights)
    return model
