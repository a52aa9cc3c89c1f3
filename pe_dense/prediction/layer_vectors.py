"""One vector per image and layer, kept on disk so that a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pe_dense.data.mapper import ImageDataset
from pe_dense.engine.trainer import autocast
from pe_dense.modeling.backbone import EncoderFeatures, LayerProbe
from pe_dense.modeling.backbone.feature_cache import encoder_fingerprint
from pe_dense.modeling.backbone.features import covered_cells, running
from pe_dense.modeling.classification import Pooling, pooled

logger = logging.getLogger(__name__)

CHUNK = 2048
"""Images in a file."""

Sample = dict[str, Any]


class Part:
    """Items ``start`` to ``stop - 1`` of a data set, under their own ids."""

    def __init__(self, dataset: ImageDataset, start: int, stop: int) -> None:
        self.dataset, self.start, self.stop = dataset, start, min(stop, len(dataset))

    def __len__(self) -> int:
        return self.stop - self.start

    def file_name(self, index: int) -> str:
        """Name of an item."""
        return self.dataset.file_name(self.start + index)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.start + index]


class LayerVectors:
    """Vectors of a data set's images, in files of :data:`CHUNK` images each.

    Args:
        folder: of the files.
        name: how they begin.
        model: whose encoder and layers; on its device, in evaluation mode.
        pooling: see :data:`Pooling`.
        precision: "fp32" or "bf16".
        settings: what else the vectors depend on (the transforms), as text.
    """

    def __init__(
        self, folder: Path, name: str, model: LayerProbe, pooling: Pooling, precision: str, settings: str
    ) -> None:
        self.folder, self.name, self.model, self.pooling, self.precision = folder, name, model, pooling, precision
        encoder = encoder_fingerprint(running(cast(EncoderFeatures, model.backbone).backbone))
        self._of = json.dumps([encoder, model.pixel_mean, model.pixel_std, pooling, precision, settings])
        self._files: list[Path] = []

    def compute(self, dataset: ImageDataset, loader: Callable[[Part], Iterable[list[Sample]]]) -> None:
        """Make the files that are not there yet.

        Args:
            dataset: with a ``label`` in each item.
            loader: batches of a part of it, in order.

        Raises:
            ValueError: if a file cannot be written; those before it stay.
        """
        self._files = []
        for start in range(0, len(dataset), CHUNK):
            part = Part(dataset, start, start + CHUNK)
            path = self.folder / f"{self.name}_{start:08d}.safetensors"
            names = "\n".join(part.file_name(i) for i in range(len(part)))
            key = hashlib.sha256(f"{self._of}\n{names}".encode()).hexdigest()
            if not self._is_there(path, key):
                _save(self._vectors(loader(part)), path, key)
                logger.info("%s: %d of %d images", self.name, part.stop, len(dataset))
            self._files.append(path)

    def layer(self, layer: int) -> Tensor:
        """N x C float32 vectors of a layer, on the CPU."""
        return torch.cat(self._tensors(str(layer)))

    def labels(self) -> Tensor:
        """N class indices."""
        return torch.cat(self._tensors("labels"))

    def image_ids(self) -> list[int]:
        """N ids."""
        ids: list[int] = torch.cat(self._tensors("image_ids")).tolist()
        return ids

    def _tensors(self, name: str) -> list[Tensor]:
        found = []
        for path in self._files:
            with safe_open(path, framework="pt") as file:
                found.append(file.get_tensor(name))
        return found

    def _is_there(self, path: Path, key: str) -> bool:
        try:
            with safe_open(path, framework="pt") as file:
                whole = {"labels", *map(str, self.model.layers)} <= set(file.keys())
                return whole and (file.metadata() or {}).get("key") == key
        except (OSError, SafetensorError):
            return False

    @torch.no_grad()
    def _vectors(self, batches: Iterable[list[Sample]]) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {str(layer): [] for layer in self.model.layers}
        labels, ids = [], []
        for samples in batches:
            with autocast(self.model.device, self.precision):
                vectors = self._of_batch(samples)
            for layer, value in zip(found.values(), vectors):
                layer.append(value.cpu())
            labels += [int(sample["label"]) for sample in samples]
            ids += [int(sample["image_id"]) for sample in samples]
        whole = {layer: torch.cat(parts) for layer, parts in found.items()}
        return {**whole, "labels": torch.tensor(labels), "image_ids": torch.tensor(ids)}

    def _of_batch(self, samples: Sequence[Sample]) -> list[Tensor]:
        images = self.model.preprocess(samples)
        cells = [covered_cells(self.model.backbone, size) for size in images.sizes]
        return [pooled(layer, self.pooling, cells) for layer in self.model.backbone(images.tensor)]


def _save(tensors: dict[str, Tensor], path: Path, key: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, {"key": key})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        temporary.unlink(missing_ok=True)
        raise ValueError(
            f"could not write {path} ({error}): free some space, then do the same again; the files before it are kept"
        ) from error
