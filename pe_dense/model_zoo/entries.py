"""What there is: names, files, recipes and class names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pe_dense.structures import Categories
from pe_dense.structures.wording import nearest

REPOSITORY = "facebook/PE-Detection"  # on the Hugging Face hub

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Entry:
    """A released detector.

    Attributes:
        name: by which it is loaded.
        file: its weights' name on the hub.
        config: its recipe, in this repository.
        classes: which list of class names it has.
        changes: to the recipe, of what only training needs and takes from the data.
    """

    name: str
    file: str
    config: str
    classes: str
    changes: tuple[str, ...] = ()

    @property
    def config_file(self) -> Path:
        """The recipe's path: in the repository, or where the package is installed."""
        places = [_PACKAGE.parent / self.config, _PACKAGE / self.config]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise FileNotFoundError(f"the recipe {self.config} is not installed: install pe_dense anew")
        return found

    @property
    def categories(self) -> Categories:
        """Names of the model's classes, in order, with the data set's ids."""
        path = Path(__file__).with_name("categories") / f"{self.classes}.json"
        return Categories.from_json(json.loads(path.read_text(encoding="utf-8")))


_NO_COUNTS = ("model.class_loss.image_counts=null",)  # the file has the weights that are made of them

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "mask_rcnn_pe_core_g_coco",
        "mask_rcnn_PEcore_G_coco75ep.pth",
        "configs/coco/mask_rcnn_pe_core_g14_75ep.py",
        "coco",
    ),
    Entry(
        "mask_rcnn_pe_spatial_g_coco",
        "mask_rcnn_PEspatial_G_coco36ep.pth",
        "configs/coco/mask_rcnn_pe_spatial_g14_36ep.py",
        "coco",
    ),
    Entry(
        "mask_rcnn_pe_core_g_lvis",
        "mask_rcnn_PEcore_G_lvis75ep.pth",
        "configs/lvis/mask_rcnn_pe_core_g14_75ep.py",
        "lvis",
        _NO_COUNTS,
    ),
    Entry(
        "mask_rcnn_pe_spatial_g_lvis",
        "mask_rcnn_PEspatial_G_lvis75ep.pth",
        "configs/lvis/mask_rcnn_pe_spatial_g14_75ep.py",
        "lvis",
        _NO_COUNTS,
    ),
    Entry(
        "deta_pe_spatial_g_coco",
        "deta_coco_1824pix.pth",
        "projects/deta/configs/coco_1824.py",
        "coco",
    ),
)


def find_entry(name: str) -> Entry:
    """The detector of that name.

    Raises:
        ValueError: if there is none; the message has the nearest names.
    """
    names = [entry.name for entry in ENTRIES]
    if name in names:
        return ENTRIES[names.index(name)]
    near = nearest(name, names, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise ValueError(f"no model is called {name!r} in the model zoo; {hint}")
