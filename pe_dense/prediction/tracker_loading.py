"""A tracker of video objects from a config, a checkpoint, or both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from pe_dense.config import apply_overrides, from_yaml, instantiate, load_config, to_yaml
from pe_dense.engine.build import has_random_encoder
from pe_dense.engine.checkpoint import CheckpointError, load_checkpoint, load_weights
from pe_dense.engine.rng import seed_all
from pe_dense.engine.run import config_of_checkpoint, without_pretrained
from pe_dense.modeling.tracking import VideoObjectTracker
from pe_dense.prediction.encoder_source import ENCODER, TrainedEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackerSource:
    """Where a tracker comes from; travels to other processes, which build the same one.

    Attributes:
        config: YAML text of the config, of which only ``model`` counts.
        checkpoint: with the weights of all of it, or None.
        encoder_from: a checkpoint of another model, whose encoder is taken, or None.
        seed: of weights that are in neither.
    """

    config: str
    checkpoint: Path | None = None
    encoder_from: Path | None = None
    seed: int = 0

    @classmethod
    def find(
        cls,
        config_file: str | Path | None = None,
        overrides: Sequence[str] = (),
        checkpoint: str | Path | None = None,
        encoder_from: str | Path | None = None,
        seed: int = 0,
    ) -> TrackerSource:
        """Read the config.

        Args:
            config_file: with ``model``; may be left out if there is a checkpoint, which holds its own.
            overrides: changes to the config.
            checkpoint: a checkpoint, or the folder of a run that trained the tracker.
            encoder_from: a checkpoint, or the folder of a run, of any model: its encoder, with its weights and
                normalisation of pixels, replaces that of the config.
            seed: of weights that nothing gives.

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: if there is neither config nor checkpoint, or both checkpoint and ``encoder_from``, or a file is
                unusable.
        """
        if checkpoint is not None and encoder_from is not None:
            raise ValueError("a checkpoint holds its encoder: give either a checkpoint or encoder_from")
        if config_file is not None:
            cfg = load_config(config_file, overrides)
        elif checkpoint is not None:
            cfg = apply_overrides(config_of_checkpoint(load_checkpoint(checkpoint)), overrides)
        else:
            raise ValueError("give a config file, a checkpoint, or both")
        if encoder_from is not None:
            cfg = _with_encoder_of(cfg, encoder_from)
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        cfg = OmegaConf.create({"model": plain["model"]})
        weights, encoder = (None if path is None else Path(path) for path in (checkpoint, encoder_from))
        return cls(to_yaml(cfg), weights, encoder, seed)

    def model_config(self) -> dict[str, Any]:
        """The config of the model as plain data."""
        plain: Any = OmegaConf.to_container(from_yaml(self.config, "tracker").model)
        return cast(dict[str, Any], plain)

    def build(self, device: torch.device) -> VideoObjectTracker:
        """The tracker, with its weights; random ones of an encoder are warned of.

        Raises:
            FileNotFoundError: if a checkpoint does not exist.
            ValueError: if the config's model is no tracker, or the weights do not fit it.
        """
        cfg = from_yaml(self.config, "tracker")
        seed_all(self.seed)
        model = instantiate(cfg.model if self.checkpoint is None else without_pretrained(cfg).model)
        if not isinstance(model, VideoObjectTracker):
            raise ValueError(
                f"the config's model is a {type(model).__name__} and does not follow objects: use a recipe of "
                "configs/davis, or a run of one of configs/*/*projection*.py"
            )
        if self.checkpoint is not None:
            saved = load_checkpoint(self.checkpoint)
            load_weights(model, saved)
            logger.info("tracking with %s (step %d)", saved.path, saved.step)
        if self.encoder_from is not None:
            _load_encoder(model, self.encoder_from)
        elif self.checkpoint is None and has_random_encoder(cfg, model):
            logger.warning(
                "the encoder's weights are random, objects are followed by little more than places and edges: set "
                "model.backbone.backbone.weights, or take a trained encoder (--encoder-from, --checkpoint)"
            )
        return model.to(device).eval()


def _with_encoder_of(cfg: DictConfig, run: str | Path) -> DictConfig:
    found = TrainedEncoder.find(run, "to track with")
    if OmegaConf.select(cfg, "model.backbone.backbone") is None:
        raise ValueError("the config's model has no encoder (model.backbone.backbone) that another could replace")
    found.put_into(cfg.model)
    return cfg


def _load_encoder(model: VideoObjectTracker, run: Path) -> None:
    saved = load_checkpoint(run)
    weights = {name.removeprefix(ENCODER): t for name, t in saved.weights.items() if name.startswith(ENCODER)}
    encoder: Any = model.backbone.backbone
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the encoder in {saved.path} does not fit the one that its config names") from error
    logger.info("tracking with the encoder of %s (step %d)", saved.path, saved.step)
