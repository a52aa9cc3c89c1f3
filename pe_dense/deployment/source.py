"""Where the graph to export comes from: a trained model, a recipe without weights, or an encoder's name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pe_dense.config import instantiate, load_config
from pe_dense.deployment.graph import ExportGraph, Part
from pe_dense.engine.build import without_pretrained
from pe_dense.modeling.backbone import EncoderFeatures
from pe_dense.modeling.backbone.builders import find_size
from pe_dense.prediction import Predictor
from pe_dense.prediction.encoder_source import official_encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSource:
    """A graph, and what is known about it.

    Attributes:
        graph: on the CPU.
        name: of the encoder or the file, for whoever reads the file.
        image_size: (height, width) of the images that it was made for; ``None`` if it takes any.
        classes: names of the classes that it predicts.
    """

    graph: ExportGraph
    name: str = ""
    image_size: tuple[int, int] | None = None
    classes: Sequence[str] | None = None

    @classmethod
    def from_tower(
        cls,
        name: str,
        layers: Sequence[int] = (-1,),
        weights: str | None = None,
        random: bool = False,
        normalized: bool = False,
    ) -> ExportSource:
        """Layers of an encoder.

        Args:
            name: official name, such as ``PE-Spatial-B16-512``; case does not matter.
            layers: 0-based blocks, negative ones count from the last. Of Core towers, too, they are given without the
                final norm.
            weights: a file, or the official name of other weights; ``None`` fetches the tower's own.
            random: start from random weights instead.
            normalized: see :class:`ExportGraph`.

        Raises:
            ValueError: for an unknown name or layer, or both ``weights`` and ``random``.
            FileNotFoundError, WeightsError: if there are no weights, or they do not fit.
        """
        size = find_size(name)
        if random and weights is not None:
            raise ValueError(f"both random weights and the weights {weights} are asked for: choose one")
        encoder = official_encoder(size, None if random else weights or size.name)
        graph = ExportGraph(EncoderFeatures(encoder, layers), normalized=normalized)
        return cls(graph, size.name, (size.image_size, size.image_size))

    @classmethod
    def from_predictor(
        cls, predictor: Predictor, name: str, part: Part | None = None, normalized: bool = False
    ) -> ExportSource:
        """A trained model.

        Args:
            predictor: on the CPU.
            name: where it comes from.
            part, normalized: see :meth:`ExportGraph.of_model`.

        Raises:
            ExportError: see :meth:`ExportGraph.of_model`.
        """
        graph = ExportGraph.of_model(predictor.model, part, normalized)
        names = predictor.label_names or (None if predictor.categories is None else predictor.categories.names)
        return cls(graph, name, _square(predictor.model), None if graph.model is None else names)

    @classmethod
    def from_recipe(
        cls, config_file: str | Path, overrides: Sequence[str] = (), part: Part | None = None, normalized: bool = False
    ) -> ExportSource:
        """A recipe's model with random weights: for its speed.

        Args:
            config_file: the recipe.
            overrides: changes to it.
            part, normalized: see :meth:`ExportGraph.of_model`.

        Raises:
            ValueError: for a recipe that cannot be read; ExportError: see :meth:`ExportGraph.of_model`.
        """
        cfg = without_pretrained(load_config(config_file, overrides))
        _seed_random(str(config_file))
        model = instantiate(cfg.model)
        return cls(ExportGraph.of_model(model, part, normalized), str(config_file), _square(model))


def _seed_random(name: str) -> None:
    logger.warning("the weights of %s are random: the file shows its speed, not what it is good for", name)
    torch.manual_seed(0)


def _square(model: nn.Module) -> tuple[int, int] | None:
    side = getattr(model, "square_size", None)
    return None if side is None else (int(side), int(side))
