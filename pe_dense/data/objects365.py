"""Objects365 v2 in its own json and folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np

from pe_dense.data.annotations import ImageAnnotations
from pe_dense.data.coco import CocoDataset
from pe_dense.structures.wording import counted, few

logger = logging.getLogger(__name__)

OTHER_SIZE = ("objects365_v2_02024631.jpg", "objects365_v2_01118660.jpg", "objects365_v1_00509398.jpg")
"""Images of the training part that others found to have another size than the json says."""


class Objects365(CocoDataset):
    """Objects365 v2 (Shao et al., ICCV 2019): 365 classes, ``zhiyuan_objv2_train.json`` and ``zhiyuan_objv2_val.json``.

    The json names images ``images/v1/patch8/objects365_v1_00420917.jpg`` (patches 0 to 15 are ``v1``, later ones
    ``v2``). The archives of the training part unpack to ``patch8/``, those of the validation part to the json's own
    folders, and some keep all images in one folder: each folder of the json is looked for below ``image_root`` by its
    whole path, then without its first parts, at last as ``image_root`` itself.

    Images that are not there are left out and counted in one line of the log: three of the json's are in no archive.

    Args:
        json_file, image_root, skip_empty: see :class:`CocoDataset`.
        skip_fake: leave out objects that are marked ``isfake``: pictures and toys of what they show.
        leave_out: names of image files, without folders, that are not used although they are there.

    Attributes:
        missing: names of the images that are not there, as they are looked for below ``image_root``.

    Raises:
        FileNotFoundError: if json or folder do not exist, or no image of the json is there.
        DataError: see :class:`CocoDataset`.
    """

    def __init__(
        self,
        json_file: str | os.PathLike[str],
        image_root: str | os.PathLike[str],
        skip_empty: bool = False,
        skip_fake: bool = False,
        leave_out: Sequence[str] = OTHER_SIZE,
    ) -> None:
        self.skip_fake = skip_fake
        self._places: dict[str, str] = {}  # folder in the json -> folder below image_root
        super().__init__(json_file, image_root, skip_empty, masks=False)
        self.missing = self.missing_images()
        if len(self.missing) == len(self):
            super().check_images()  # raises
        self._leave_out(set(self.missing), set(leave_out))

    def file_name(self, index: int) -> str:
        """Where the image of item ``index`` is below ``image_root``."""
        folder, _, name = super().file_name(index).rpartition("/")
        place = self._places.get(folder)
        if place is None:
            parts = folder.split("/")
            candidates = ("/".join(parts[i:]) for i in range(len(parts)))
            place = next((c for c in candidates if (self.image_root / c).is_dir()), "")
            self._places[folder] = place
        return f"{place}/{name}" if place else name

    def annotations(self, index: int) -> ImageAnnotations:
        """See :meth:`CocoDataset.annotations`."""
        objects = super().annotations(index)
        if not self.skip_fake:
            return objects
        image = int(self._images[index])
        start, stop = self.table.arrays["image_offsets"][image : image + 2]
        return objects[np.flatnonzero(~self.table.arrays["fake"][start:stop])]

    def check_images(self) -> None:
        """All images of this data set were there when it was made."""

    def _trained_on(self, present: np.ndarray) -> np.ndarray:
        usable = super()._trained_on(present)
        return usable & ~self.table.arrays["fake"] if self.skip_fake else usable

    def _leave_out(self, missing: set[str], unwanted: set[str]) -> None:
        names = [self.file_name(index) for index in range(len(self))]
        kept = [name not in missing and name.rpartition("/")[2] not in unwanted for name in names]
        self._images = self._images[np.array(kept, dtype=np.bool_)]
        if missing:
            logger.warning(
                "%s: %s of %d not in %s, left out: %s",
                self.json_file, counted(len(missing), "image"), len(names), self.image_root, few(self.missing, 3),
            )  # fmt: skip
        unused = len(names) - len(self) - len(missing)
        if unused:
            logger.info("%s: %s left out by name (leave_out)", self.json_file, counted(unused, "image"))
