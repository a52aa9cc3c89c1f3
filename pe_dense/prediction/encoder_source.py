"""Encoders by their official name, and the encoder of a trained model for another model to look through."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from pe_dense.engine.build import without_pretrained
from pe_dense.engine.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from pe_dense.engine.run import config_of_checkpoint
from pe_dense.modeling.backbone import PerceptionEncoder, WeightsError
from pe_dense.modeling.backbone.builders import TowerSize, build_tower

logger = logging.getLogger(__name__)

ENCODER = "backbone.backbone."
"""How the names of an encoder's weights begin."""


def official_encoder(
    size: TowerSize, weights: str | os.PathLike[str] | None, pool: bool | None = None, ln_post: bool | None = None
) -> PerceptionEncoder:
    """A tower with weights, or with always the same random ones.

    Args:
        size: from :func:`~pe_dense.modeling.backbone.builders.find_size`.
        weights: file or official name; ``None`` takes random numbers, with a warning.
        pool, ln_post: see :func:`~pe_dense.modeling.backbone.builders.build_tower`.

    Raises:
        FileNotFoundError, WeightsError: if there are no weights, or they do not fit; of a run with another encoder
            the message has what takes that.
    """
    if weights is not None:
        try:
            with torch.device("meta"):  # random numbers for 2 billion parameters take minutes
                return build_tower(size, weights=os.fspath(weights), pool=pool, ln_post=ln_post)
        except (FileNotFoundError, WeightsError) as error:
            if not _is_run(weights):
                raise
            raise WeightsError(
                f"{weights} is a run with an encoder of its own, not weights of {size.name}; take that encoder with "
                f"EncoderView.from_checkpoint({os.fspath(weights)!r}), see docs/features.md, in tools with --checkpoint"
            ) from error
    logger.warning("the weights of %s are random: its features show colours and edges, no meaning", size.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_tower(size, pool=pool, ln_post=ln_post)


def _is_run(path: str | os.PathLike[str]) -> bool:
    try:
        load_checkpoint(Path(path))
    except (OSError, CheckpointError):
        return False
    return True


@dataclass(frozen=True)
class TrainedEncoder:
    """What another model needs to see with this encoder.

    Attributes:
        checkpoint: that it was found in.
        config: how it is built, without pretrained weights.
        normalization: ``pixel_mean`` and ``pixel_std``, where the model has them.
    """

    checkpoint: Checkpoint
    config: Any
    normalization: dict[str, Any]

    @classmethod
    def find(cls, run: str | Path, purpose: str) -> TrainedEncoder:
        """Look into a checkpoint, or the folder of a run.

        Args:
            run: of any model.
            purpose: what it is for, for the message: "to probe".

        Raises:
            FileNotFoundError: if there is no such checkpoint.
            ValueError: if its model has no encoder in the places where models have theirs.
        """
        saved = load_checkpoint(run)
        source = without_pretrained(config_of_checkpoint(saved)).model
        while source.get("model") is not None:  # a probe
            source = source.model
        encoder: Any = OmegaConf.select(source, "backbone.backbone") or source.get("encoder")
        if encoder is None or not any(name.startswith(ENCODER) for name in saved.weights):
            raise ValueError(f"checkpoint {saved.path}: its model has no encoder {purpose}")
        task = source if source.get("tasks") is None else next(iter(source.tasks.values()))  # all tasks normalise alike
        plain = {
            key: OmegaConf.to_container(task[key], resolve=True)
            for key in ("pixel_mean", "pixel_std")
            if task.get(key) is not None
        }
        return cls(saved, OmegaConf.to_container(encoder, resolve=True), plain)

    def put_into(self, model: DictConfig) -> None:
        """Let a model's config, which has ``backbone.backbone``, see with it."""
        model.backbone.backbone = self.config
        for key, value in self.normalization.items():
            model[key] = value
