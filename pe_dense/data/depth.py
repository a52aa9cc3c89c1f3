"""Data sets of images with depth maps."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pe_dense.data.errors import DataError
from pe_dense.data.file_pairs import Pair, PairedImages, check_same_size, pair_folders, read_pairs
from pe_dense.data.label_files import decode_depth

logger = logging.getLogger(__name__)

_KB_HEIGHT, _KB_WIDTH = 352, 1216


class DepthChecks:
    """What is said about suspicious depth maps, once per kind and process.

    Args:
        median_range: metres between which the median depth of an image is plausible.
    """

    def __init__(self, median_range: Sequence[float]) -> None:
        self.low, self.high = (float(v) for v in median_range)
        self._said: set[str] = set()

    def __call__(self, depth: np.ndarray, name: str, scale: float | None) -> np.ndarray:
        """H x W float32 metres in which 0 is unknown: also what was NaN, infinite or negative.

        Args:
            depth: as read; may be changed.
            name: of the map, for messages.
            scale: that it was read with, for messages.
        """
        wrong = ~np.isfinite(depth) | (depth < 0)
        if wrong.any():
            depth[wrong] = 0
            count = int(wrong.sum())
            self._warn("wrong", f"{name} has {count:,} NaN, infinite or negative values, which count as unknown")
        known = depth[::4, ::4]
        known = known[known > 0]
        if not known.size:  # few points, perhaps all beside the grid
            known = depth[depth > 0]
        if not known.size:
            self._warn("empty", f"{name} has no known depth at all and teaches nothing; remove it from the data")
            return depth
        median = float(np.median(known))
        if not self.low <= median <= self.high:
            self._warn(
                "scale",
                f"{name} has a median depth of {median:.4g} m, outside {self.low:g}..{self.high:g} m, with scale "
                f"{scale or 'by file type'}; set scale to the stored units per metre (1000 for millimetres)",
            )
        return depth

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            logger.warning("%s (said once, other files may be alike)", text)


class DepthImages(PairedImages):
    """Images and depth maps; the base of the data sets below.

    Args:
        pairs: the files.
        source: where they are listed, for messages.
        scale: stored units per metre, of the pairs without a scale of their own; ``None`` is 1000 for files of integers
            and 1 for files of floats.
        median_range: metres between which the median depth of an image is plausible; a warning names the first file
            outside.

    Raises:
        ValueError: for a scale that is not positive.
        FileNotFoundError, DataError: see :class:`PairedImages`.
    """

    labels = ("depth",)

    def __init__(
        self,
        pairs: Sequence[Pair],
        source: str | os.PathLike[str],
        scale: float | None = None,
        median_range: Sequence[float] = (0.1, 150.0),
    ) -> None:
        super().__init__(pairs, source)
        if scale is not None and not scale > 0:
            raise ValueError(f"scale is {scale}; give the stored units per metre, e.g. 1000 for millimetres")
        self.scale = scale
        self._checks = DepthChecks(median_range)

    def read_depth(self, index: int) -> np.ndarray:
        """Depth of item (and image id) ``index``, without reading its image: H x W float32 metres, 0 = unknown.

        Raises:
            FileNotFoundError, DataError: if the file cannot be read as depth.
        """
        pair = self.pairs[index]
        scale = self.scale if pair.scale is None else pair.scale
        depth = self._checks(decode_depth(pair.labels, scale), f"depth map {pair.labels}", scale)
        return self._window(depth, pair.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item ``index``: the image and its depth.

        Returns:
            ``image`` (3 x H x W uint8 RGB), ``height``, ``width``, ``image_id``, ``file_name``, ``depth`` (H x W
            float32 metres, 0 = unknown) and, where known, ``focal_length`` and ``principal_point`` (pixels).

        Raises:
            FileNotFoundError, DataError: if a file cannot be read, or the two differ in size.
        """
        item = self.unlabelled(index)
        item["depth"] = self.read_depth(index)
        check_same_size(item, item["depth"], f"depth map {self.pairs[index].labels}")
        return item

    def unlabelled(self, index: int) -> dict[str, Any]:
        """The item without its depth."""
        item = super().unlabelled(index)
        pair = self.pairs[index]
        camera = {"focal_length": pair.focal_length, "principal_point": pair.principal_point}
        return {**item, **{name: value for name, value in camera.items() if value is not None}}


class DepthList(DepthImages):
    """Any images with depth maps: 16-bit PNG or TIFF, EXR, or npy.

    Args:
        images: a folder; or a list: ``.csv`` with the columns image, depth and perhaps scale, focal_length, cx and cy
            (pixels), or a text file with lines ``image depth [focal_length]``. A list's relative names start at the
            list's folder.
        depths: folder of the depth maps, paired with the images by name; with a list, leave it out.
        scale: stored units per metre; ``None`` is 1000 for files of integers and 1 for files of floats.
        image_suffix, depth_suffix: what names have before the extension, e.g. ``_rgb`` and ``_depth``; folders only.
        median_range: metres between which the median depth of an image is plausible; a warning names the first file
            outside.

    Raises:
        ValueError, FileNotFoundError, DataError: naming the argument, file or line at fault.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        depths: str | os.PathLike[str] | None = None,
        scale: float | None = None,
        image_suffix: str = "",
        depth_suffix: str = "",
        median_range: Sequence[float] = (0.1, 150.0),
    ) -> None:
        place = Path(images).expanduser()
        if depths is None and place.is_dir():
            raise ValueError(f"DepthList: {images} is a folder; give the folder of its depth maps as depths")
        if depths is not None and place.is_file():
            raise ValueError(f"DepthList: {images} is a list and names the depth maps itself; leave out depths")
        pairs = (
            _below(read_pairs(place), place.parent, place.parent)
            if depths is None
            else pair_folders(place, depths, image_suffix, depth_suffix)
        )
        super().__init__(pairs, images, scale, median_range)


class NYUDepth(DepthImages):
    """NYU Depth v2 as the depth literature uses it: 24,231 training pairs from the raw videos, 654 to test.

    Silberman et al. 2012; the ``sync`` folder and lists of BTS. 640 x 480, depth in millimetres up to 10 m.

    Args:
        root: folder that holds ``sync`` (training) and ``official_splits/test``, or directly the scenes' folders.
        split: ``train`` or ``test``.
        split_file: lines ``/kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579``; ``None`` is
            ``nyudepthv2_<split>_files_with_gt.txt`` or ``nyu_<split>.txt`` in ``root``.

    Raises:
        ValueError, FileNotFoundError, DataError: naming the argument, file or line at fault.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str = "train", split_file: str | os.PathLike[str] | None = None
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f'NYUDepth: split is "{split}"; choose "train" or "test"')
        folder = Path(root).expanduser()
        listing = Path(split_file) if split_file else folder / f"nyudepthv2_{split}_files_with_gt.txt"
        if split_file is None and not listing.is_file():
            listing = folder / f"nyu_{split}.txt"
        part = folder / ("sync" if split == "train" else "official_splits/test")
        images = part if part.is_dir() else folder
        super().__init__(_below(read_pairs(listing), images, images, strip=True), listing, 1000.0, (0.2, 10.0))


class KITTIDepth(DepthImages):
    """KITTI with the annotated depth, by Eigen's lists (Eigen et al. 2014): 23,158 pairs to train, 652 to test.

    Depth in 1/256 m, sparse. Of the 697 lines of the test list, the 45 without ground truth (``None``) are left out.

    Args:
        root: folder with the raw data's days (``2011_09_26`` ...), or one that holds it as ``input``.
        split_file: lines ``image depth 721.5377``.
        depth_root: folder with the depth annotation's drives, perhaps below ``train`` and ``val``; ``None`` is
            ``gt_depth`` or ``data_depth_annotated`` in ``root``.
        kb_crop: keep of images and depth only the 352 x 1216 pixels at the bottom centre (the KITTI benchmark's crop).

    Raises:
        FileNotFoundError, DataError: naming the file or line at fault.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split_file: str | os.PathLike[str],
        depth_root: str | os.PathLike[str] | None = None,
        kb_crop: bool = True,
    ) -> None:
        folder = Path(root).expanduser()
        images = folder / "input" if (folder / "input").is_dir() else folder
        depths = Path(depth_root).expanduser() if depth_root else folder / "gt_depth"
        if depth_root is None and not depths.is_dir():
            depths = folder / "data_depth_annotated"
        self.kb_crop = kb_crop
        pairs = _in_train_or_val(_below(read_pairs(split_file), images, depths, strip=True), depths)
        super().__init__(pairs, split_file, 256.0, (1.0, 80.0))

    def _window(self, pixels: np.ndarray, name: str) -> np.ndarray:
        if not self.kb_crop:
            return pixels
        top, left = pixels.shape[0] - _KB_HEIGHT, (pixels.shape[1] - _KB_WIDTH) // 2
        if top < 0 or left < 0:
            raise DataError(
                f"{name} is {pixels.shape[1]} x {pixels.shape[0]}, smaller than KITTI's crop of {_KB_WIDTH} x "
                f"{_KB_HEIGHT}; use the original files, or set kb_crop=False"
            )
        return np.ascontiguousarray(pixels[top:, left : left + _KB_WIDTH])


def _below(pairs: Sequence[Pair], images: Path, depths: Path, strip: bool = False) -> list[Pair]:
    """The pairs with names made whole; ``strip``: a leading slash means the folder, not the file system's root."""
    names = [(p.image.lstrip("/"), p.labels.lstrip("/")) if strip else p[:2] for p in pairs]
    whole = [(os.path.join(images, image), os.path.join(depths, depth)) for image, depth in names]
    return [p._replace(image=image, labels=depth) for p, (image, depth) in zip(pairs, whole)]


def _in_train_or_val(pairs: Sequence[Pair], root: Path) -> list[Pair]:
    """The depth annotation comes in two folders that the lists do not name."""
    part_of = {d: part for part in ("train", "val") if (root / part).is_dir() for d in os.listdir(root / part)}
    found = []
    for pair in pairs:
        name = os.path.relpath(pair.labels, root)
        found.append(pair._replace(labels=os.path.join(root, part_of.get(name.split(os.sep)[0], ""), name)))
    return found
