"""The same model on each layer of one encoder, side by side: which layer is best for a task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.modeling.backbone.dense_model import DenseModel, Sample
from pe_dense.modeling.backbone.feature_cache import FeatureCache
from pe_dense.modeling.backbone.features import EncoderFeatures, LayerFeatures, block_numbers, running
from pe_dense.modeling.backbone.pyramid import FeaturePyramid
from pe_dense.structures import ImageBatch


class LayerProbe(DenseModel):
    """Copies of a model, each on a layer of its own of one frozen encoder, which runs once for all of them.

    This is PE's layer analysis (arXiv 2504.13181, figure 8). What a layer scores does not depend on which others are
    probed: all copies start from the same weights and draw the same random numbers, their losses have no parameter in
    common, and gradients are clipped for each copy by itself.

    Args:
        model: what is put on each layer, built on one layer of the encoder (any: it is replaced). The encoder is taken
            out of it and frozen.
        layers: 0-based blocks, negative ones count from the last; ``None`` probes all.
        cache: keeps the features of training images on disk, which pays if an image is the same in each epoch. They
            are rounded to bfloat16. At test time the encoder always runs.

    Attributes:
        layers: the blocks probed, ascending.
        probes: the copies, by the number of their block.

    Raises:
        ValueError: for a layer the encoder does not have, or a model on several layers.
    """

    def __init__(
        self, model: DenseModel, layers: Sequence[int] | None = None, cache: FeatureCache | None = None
    ) -> None:
        neck = _checked_neck(model)
        encoder = running(neck.backbone)
        wanted = range(encoder.depth) if layers is None else sorted(set(block_numbers(encoder, layers)))
        every = EncoderFeatures(encoder, list(wanted), neck.norm, trainable_blocks=0)
        super().__init__(every, model.pixel_mean, model.pixel_std, model.square_size)
        self.layers, self.labels = every.layers, model.labels
        self.cache = cache
        self._shared = EncoderStandIn(every)
        cast(Any, neck).backbone = self._shared
        self.probes = nn.ModuleDict({str(layer): self._copy(model, layer) for layer in self.layers})

    def _copy(self, model: DenseModel, layer: int) -> DenseModel:
        probe = copy.deepcopy(model, {id(self._shared): self._shared})
        cast(EncoderFeatures, probe.backbone).layers = [layer]
        return probe

    @property
    def num_classes(self) -> int | None:
        """Of the model that is put on each layer, if it has classes."""
        return getattr(self._models()[0], "num_classes", None)

    def separate_parts(self) -> list[nn.Module]:
        """Parts whose gradients have nothing to do with each other."""
        return list(self.probes.values())

    def blank_labels(self, size: tuple[int, int]) -> dict[str, Any]:
        """As the model on each layer has them."""
        return self._models()[0].blank_labels(size)

    def preprocess(self, samples: Sequence[Sample]) -> ImageBatch:
        """As the model on each layer does it."""
        return self._models()[0].preprocess(samples)

    def forward(self, samples: Sequence[Sample]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch.

        Args:
            samples: see :meth:`DenseModel.forward`.

        Returns:
            in training mode ``loss_layer_<i>`` for each layer, the sum of its model's losses. In eval mode for each
            sample what each layer's model predicts, by the number of the layer; at test time every model works as it
            would alone (windows, scales, mirroring), and the encoder sees each picture once.
        """
        if self.training:
            features, sizes = self._features(samples)
            return self.from_features(features, sizes, samples)
        try:
            return self._by_sample([model(samples) for model in self._models()])
        finally:
            self._shared.forget()

    def from_features(
        self, features: Sequence[LayerFeatures], sizes: Sequence[tuple[int, int]], samples: Sequence[Sample]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """As :meth:`forward`, from the encoder's output for :attr:`layers`; at test time each image whole and once."""
        seed = int(torch.randint(2**31 - 1, ()))
        device = self.device
        found: list[Any] = []
        for model, layer in zip(self._models(), features):
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(seed)
                found.append(model.from_features(cast(Any, model.backbone).from_layers([layer]), sizes, samples))
        if not self.training:
            return self._by_sample(found)
        return {f"loss_layer_{i}": torch.stack(list(terms.values())).sum() for i, terms in zip(self.layers, found)}

    def _models(self) -> list[DenseModel]:
        return [cast(DenseModel, probe) for probe in self.probes.values()]

    def _by_sample(self, found: Sequence[Any]) -> list[dict[Any, Any]]:
        return [dict(zip(self.layers, outputs)) for outputs in zip(*found)]

    @torch.no_grad()
    def _features(self, samples: Sequence[Sample]) -> tuple[list[LayerFeatures], list[tuple[int, int]]]:
        """What the encoder makes of a batch, and the valid (height, width) of each image."""
        if self.cache is None:
            images = self.preprocess(samples)
            return self.backbone(images.tensor), images.sizes
        self._open(self.cache)
        singles = [self._single(self.cache, sample) for sample in samples]
        sizes = [(int(s["image"].shape[-2]), int(s["image"].shape[-1])) for s in samples]
        return [_batched(layer) for layer in zip(*singles)], sizes

    def _single(self, cache: FeatureCache, sample: Sample) -> list[LayerFeatures]:
        """The layers of one image, alone: what they are must not depend on the batch that asks for them first."""
        key = cache.key(sample["image"])
        found = cache.read(key, self.layers)
        if found is None:
            images = self.preprocess([sample]).tensor
            found = [(f.map.bfloat16(), None if f.cls is None else f.cls.bfloat16()) for f in self.backbone(images)]
            cache.write(key, dict(zip(self.layers, found)))
        on_device = [[None if t is None else t.to(self.device).float() for t in pair] for pair in found]
        return [LayerFeatures(cast(Tensor, grid), token) for grid, token in on_device]

    def _open(self, cache: FeatureCache) -> None:
        if cache.is_open:
            return
        first = self._models()[0]
        amp = torch.is_autocast_enabled(self.device.type)
        cache.open(
            running(cast(EncoderFeatures, self.backbone).backbone),
            {
                "final norm": cast(EncoderFeatures, self.backbone).norm,
                "pixel_mean": list(self.pixel_mean),
                "pixel_std": list(self.pixel_std),
                "square_size": self.square_size,
                "size_divisibility": int(cast(Any, first.backbone).size_divisibility),
                "precision": str(torch.get_autocast_dtype(self.device.type)) if amp else "fp32",
            },
        )


class EncoderStandIn(nn.Module):
    """Stands in each neck in place of the encoder.

    The first neck that shows it a batch runs the encoder for all layers, the others get the same.

    Args:
        neck: the encoder and all layers; its parameters are not this module's.
    """

    def __init__(self, neck: EncoderFeatures) -> None:
        super().__init__()
        self._neck = (neck,)  # in a tuple it is no child
        encoder = neck.backbone
        self.embed_dim, self.depth, self.patch_size = encoder.embed_dim, encoder.depth, encoder.patch_size
        self._seen: list[tuple[Tensor, dict[int, LayerFeatures]]] = []

    def forward_intermediates_with_cls(
        self, images: Tensor, indices: Sequence[int], norm: bool = False
    ) -> list[LayerFeatures]:
        """See :meth:`PerceptionEncoder.forward_intermediates_with_cls`; ``norm`` is that of all necks."""
        layers = next((found for seen, found in self._seen if _same(seen, images)), None)
        if layers is None:
            [neck] = self._neck
            layers = dict(zip(neck.layers, neck(images)))
            self._seen.append((images, layers))
        return [layers[i] for i in indices]

    def forget(self) -> None:
        """Let go of what was seen."""
        self._seen = []


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)


def _checked_neck(model: DenseModel) -> EncoderFeatures | FeaturePyramid:
    neck = model.backbone
    if not isinstance(neck, (EncoderFeatures, FeaturePyramid)):
        raise ValueError(
            f"the probed model's backbone is a {type(neck).__name__}: use EncoderFeatures, or FeaturePyramid with mode "
            f"'last'"
        )
    if len(neck.layers) != 1:
        raise ValueError(
            f"the probed model stands on layers {list(neck.layers)}; each copy gets a single one: set its backbone's "
            f"layers to one block (and a pyramid's mode to 'last')"
        )
    return neck


def _batched(singles: Sequence[LayerFeatures]) -> LayerFeatures:
    """One layer of several images of any sizes, padded with zeros at the bottom and right."""
    height, width = (max(single.map.shape[side] for single in singles) for side in (-2, -1))
    maps = [F.pad(s.map, (0, width - s.map.shape[-1], 0, height - s.map.shape[-2])) for s in singles]
    tokens = [s.cls for s in singles if s.cls is not None]
    return LayerFeatures(torch.cat(maps), torch.cat(tokens) if tokens else None)
