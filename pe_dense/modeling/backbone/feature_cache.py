"""Features of single images on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pe_dense.modeling.backbone.vit import PerceptionEncoder

logger = logging.getLogger(__name__)

Pair = tuple[Tensor, Tensor | None]

_NOTE = "cache.json"
_FORMAT = 1
_ABANDONED_S = 3600.0


class FeatureCache:
    """A folder of bfloat16 features, one file per image; several processes may share it.

    A file is named by the SHA-256 of the pixels the encoder is shown, so that other data, transforms or sizes can never
    get wrong features; a note tells whose features they are. What does not fit is computed anew each time, with the
    same result: the limit is no matter of correctness.

    Args:
        folder: where the files are; is created.
        limit_gb: how large the folder may become, in units of 10^9 bytes.

    Raises:
        ValueError: if the limit is not positive.
    """

    def __init__(self, folder: str | Path, limit_gb: float) -> None:
        if not limit_gb > 0:
            raise ValueError(f"cache: limit_gb must be greater than 0, it is {limit_gb}; set cache to null for none")
        self.folder = Path(folder)
        self.limit_gb = limit_gb
        self.is_open = False
        self._left = 0.0
        self._full = False

    def open(self, encoder: PerceptionEncoder, settings: Mapping[str, Any]) -> None:
        """Make or check the folder.

        Args:
            encoder: whose features are kept; all of its weights are read.
            settings: what else they depend on, by readable names.

        Raises:
            ValueError: if the folder holds features of another encoder or other settings, naming them, or cannot be
                used.
        """
        present = {"format": _FORMAT, "encoder": encoder_fingerprint(encoder), **settings}
        note = self.folder / _NOTE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if note.exists():
                self._compare(json.loads(note.read_text(encoding="utf-8")), present)
            else:
                temporary = note.with_name(f"{_NOTE}.{os.getpid()}.tmp")
                temporary.write_text(json.dumps(present, indent=1) + "\n", encoding="utf-8")
                os.replace(temporary, note)
            used = self._measure()
        except OSError as error:
            raise ValueError(
                f"feature cache {self.folder} cannot be used ({error.strerror or error}): choose another folder, or "
                f"leave the cache out"
            ) from error
        except json.JSONDecodeError as error:
            raise ValueError(f"{note} is damaged ({error}): delete {self.folder}, or choose another folder") from error
        processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        self._left = max(0.0, self.limit_gb * 1e9 - used) / processes
        self.is_open = True
        logger.info("feature cache %s: %.3g of %g GB are used", self.folder, used / 1e9, self.limit_gb)

    def _compare(self, saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        names = sorted(saved.keys() | present.keys())
        other = [f"{n}: {saved.get(n)} there, {present.get(n)} here" for n in names if saved.get(n) != present.get(n)]
        if other:
            raise ValueError(
                f"feature cache {self.folder} holds the features of another encoder or of other settings "
                f"({'; '.join(other)}): choose another folder, or delete it"
            )

    def _measure(self) -> int:
        """Bytes in use; what killed processes left half written goes."""
        used = 0
        for path in self.folder.glob("*/*"):
            try:
                found = path.stat()
                if path.suffix == ".tmp" and time.time() - found.st_mtime > _ABANDONED_S:
                    path.unlink()
                else:
                    used += found.st_size
            except FileNotFoundError:  # another process was faster
                continue
        return used

    def key(self, image: Tensor) -> str:
        """The name of an image's features: 3 x H x W uint8."""
        digest = hashlib.sha256(str(tuple(image.shape)).encode())
        digest.update(image.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def read(self, key: str, layers: Sequence[int]) -> list[Pair] | None:
        """1 x C x h x w maps and 1 x C class tokens of the layers, on the CPU.

        Returns:
            ``None`` if one of them is not there, or the file is damaged.
        """
        try:
            with safe_open(self._path(key), framework="pt") as file:
                names = set(file.keys())
                return [
                    (
                        file.get_tensor(f"{i}.map").permute(0, 3, 1, 2),
                        file.get_tensor(f"{i}.cls") if f"{i}.cls" in names else None,
                    )
                    for i in layers
                ]
        except (OSError, SafetensorError):  # not there, without this layer, or cut short
            return None

    def write(self, key: str, layers: Mapping[int, Pair]) -> None:
        """Keep an image's features if there is room."""
        tensors = {}
        for i, (grid, token) in layers.items():
            tensors[f"{i}.map"] = grid.permute(0, 2, 3, 1).cpu().contiguous()
            if token is not None:
                tensors[f"{i}.cls"] = token.cpu().contiguous()
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        if self._full or size > self._left:
            self._stop(f"its limit of {self.limit_gb:g} GB is reached")
            return
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            save_file(tensors, temporary)
            os.replace(temporary, path)
            self._left -= size
        except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
            temporary.unlink(missing_ok=True)
            self._stop(str(error))

    def _stop(self, why: str) -> None:
        if not self._full:
            logger.warning(
                "feature cache %s takes no more images (%s): the encoder runs each time for those that are not in it",
                self.folder, why,
            )  # fmt: skip
        self._full = True

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


@torch.no_grad()
def encoder_fingerprint(encoder: PerceptionEncoder) -> str:
    """A digest of all weights of an encoder, and of the settings (heads, windows, positions) that they do not show."""
    blocks = [(block.window, block.zero_padding) for block in encoder.blocks]
    settings = [encoder.num_heads, encoder.window_size, encoder.abs_pos, encoder.rope_reference, blocks]
    return weights_digest(encoder, repr(settings))


@torch.no_grad()
def weights_digest(module: nn.Module, settings: str = "") -> str:
    """Stands for all weights of a module, and for settings that they do not show."""
    digest = hashlib.sha256(settings.encode())
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.float().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
