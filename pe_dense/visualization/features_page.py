"""A page to explore features in a browser: the mouse over one image shows what is alike in all others."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.visualization.canvas import as_rgb, fit_into
from pe_dense.visualization.legends import color_table
from pe_dense.visualization.page_script import SCRIPT, STYLE

_JPEG_QUALITY = 85


@dataclass(frozen=True)
class PackedFeatures:
    """Features of one layer, few and small enough for a page.

    Attributes:
        grids: per image, h x w x dims int8: directions in the space of the strongest ``dims`` components, in 127ths.
        kept: share of the features' energy that lies in these components, 0..1.
    """

    grids: list[np.ndarray]
    kept: float

    @classmethod
    def pack(cls, features: Sequence[Tensor], dims: int = 32) -> PackedFeatures:
        """Reduce features (each C x H x W) so that their products stay what the cosines were.

        The features are brought to length 1 and then projected, without a mean, on the components of all images
        together; each component uses the whole range of a byte only if it is the strongest.

        Raises:
            ValueError: if a feature is not finite.
        """
        units = [F.normalize(f.detach().cpu().double(), dim=0) for f in features]
        rows = torch.cat([u.flatten(1).T for u in units])
        if not rows.isfinite().all():
            raise ValueError("write_features_page: the features are not finite")
        energy, directions = torch.linalg.eigh(rows.T @ rows)
        top = directions.flip(1)[:, :dims]
        small = [F.normalize(torch.einsum("chw,cd->hwd", u, top), dim=2) for u in units]
        kept = float(energy.flip(0)[:dims].sum() / energy.sum().clamp(min=1e-12))
        return cls([np.round(s.numpy() * 127).astype(np.int8) for s in small], kept)


def write_features_page(
    path: str | Path,
    pictures: Sequence[np.ndarray | Tensor],
    names: Sequence[str],
    layers: Mapping[str, Sequence[Tensor]],
    title: str = "Features",
    width: int = 420,
    dims: int = 32,
) -> None:
    """Write one HTML file that needs no other and no network.

    Args:
        path: of the file.
        pictures: the images (see :func:`as_rgb`).
        names: one per image.
        layers: name of a layer to its features, C x h x w for each image.
        title: of the page.
        width: of the pictures in pixels.
        dims: numbers per patch; more are more exact and make the file larger (a byte each, a third more as text).

    Raises:
        ValueError: if the numbers of pictures, names and features differ, or a feature is not finite.
        OSError: if the file cannot be written.
    """
    counts = {len(pictures), len(names), *(len(features) for features in layers.values())}
    if len(counts) != 1 or not layers or not pictures:
        raise ValueError(
            f"write_features_page: {len(pictures)} pictures, {len(names)} names and features of "
            f"{[len(f) for f in layers.values()]} images do not belong together"
        )
    content = {
        "colors": _text(color_table("turbo")),
        "pictures": [{"name": name, "source": _jpeg(picture, width)} for name, picture in zip(names, pictures)],
        "layers": [_layer(name, PackedFeatures.pack(features, dims)) for name, features in layers.items()],
    }
    data = json.dumps(content).replace("<", "\\u003c")  # or a name could end the script
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n<div id=controls></div>\n"
        f"<div id=images></div>\n<script>const DATA = {data};\n{SCRIPT}</script></body></html>\n"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8", errors="replace")


def _layer(name: str, packed: PackedFeatures) -> dict[str, Any]:
    grids = [{"rows": g.shape[0], "columns": g.shape[1], "codes": _text(g)} for g in packed.grids]
    return {"name": name, "kept": round(packed.kept, 4), "dims": int(packed.grids[0].shape[2]), "grids": grids}


def _jpeg(picture: np.ndarray | Tensor, width: int) -> str:
    image = as_rgb(picture)
    small, _ = fit_into(image, min(width, image.shape[1]), 2 * width)
    coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{_text(coded)}"


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
