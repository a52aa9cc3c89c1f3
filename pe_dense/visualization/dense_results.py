"""Depth and semantic segmentation beside the ground truth: image, truth, prediction, error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

import numpy as np

from pe_dense.visualization.canvas import as_rgb, fit_into, save_image
from pe_dense.visualization.dense import depth_to_rgb, overlay_sem_seg
from pe_dense.visualization.dense_errors import (
    UNLABELLED,
    WRONG,
    DepthError,
    depth_error_to_rgb,
    fit_map,
    sem_seg_error_to_rgb,
)
from pe_dense.visualization.legends import by_frequency, class_strip
from pe_dense.visualization.point_cloud import Intrinsics, point_cloud, save_ply
from pe_dense.visualization.sheets import SHEET_SUFFIXES, contact_sheet, in_a_row, padded

Order = Literal["error", "name"]
_TITLES = ("image", "ground truth", "prediction")
_ERROR_TITLES = {"abs_rel": "error in % of the depth", "signed": "error: red too near, blue too far"}
_PANEL, _LARGE_PANEL = 400, 640
_TALLEST = 1.3  # height of a panel in widths
_WIDE = 2.0  # images wider than this many heights get larger panels, in two rows
_IGNORE = 255


class DenseImages(Protocol):
    """What a data set must offer; those of :mod:`pe_dense.data` do."""

    def file_name(self, index: int) -> str:
        """File name of an item."""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """A sample with ``image``."""


class Compared(Protocol):
    """One image as it is scored; :class:`pe_dense.evaluation.DenseComparison` is one."""

    @property
    def truth(self) -> np.ndarray:
        """H x W: metres, 0 where it does not count, or class indices, 255 where they do not count."""

    @property
    def prediction(self) -> np.ndarray:
        """H x W of the same kind."""

    @property
    def scores(self) -> Mapping[str, float]:
        """Numbers by name."""

    @property
    def error(self) -> float:
        """What to sort by; NaN if no pixel counts."""


def visualize_dense(
    dataset: DenseImages,
    image_ids: Sequence[int],
    compare: Callable[[int], Compared],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    sort: Order = "error",
    num: int = 12,
    sheet: bool = False,
    depth_error: DepthError = "abs_rel",
    point_clouds: bool = False,
    field_of_view: float | None = None,
) -> list[Path]:
    """Draw image, ground truth, prediction and error in a row for each image.

    Args:
        dataset: images.
        image_ids: the items that were predicted.
        compare: ground truth and prediction of an item.
        output: a picture file (one contact sheet) or a folder (one picture per image).
        names: class names of semantic segmentation; None draws depth.
        sort: "error": the highest first; "name": by file name.
        num: how many images, 0 for all.
        sheet: also write ``contact_sheet.png`` when ``output`` is a folder.
        depth_error: see :func:`~pe_dense.visualization.depth_error_to_rgb`.
        point_clouds: also write predicted and true depth as ``.ply`` files into the folder ``output``.
        field_of_view: horizontal, in degrees, for point clouds of samples that have no ``focal_length`` (pixels). The
            principal point is the sample's ``principal_point``, else the middle of the image.

    Returns:
        The files written.

    Raises:
        ValueError: if there is no image, ``sort`` is unknown, or point clouds are wanted of labels, into a picture, or
            of an unknown camera.
    """
    output = Path(output)
    single = output.suffix.lower() in SHEET_SUFFIXES
    if not image_ids:
        raise ValueError("visualize_dense: there are no predictions to show")
    if sort not in ("error", "name"):
        raise ValueError(f"sort must be 'error' or 'name', not {sort!r}")
    if point_clouds and (single or names is not None):
        raise ValueError("point clouds are made of depth and go into a folder; give results of depth and a folder")
    chosen = _ranked(dataset, image_ids, compare, sort)
    chosen = chosen[:num] if num > 0 else chosen
    written: list[Path] = []
    rows, titles, present = [], [], np.zeros(256, dtype=np.int64)
    for place, image_id in enumerate(chosen):
        sample, compared, name = dataset[image_id], compare(image_id), _short(dataset, image_id)
        image = as_rgb(sample["image"])
        stem = f"{place:04d}_{'_'.join(PurePosixPath(name).with_suffix('').parts)}"
        if single or sheet:
            rows.append(_row(image, compared, names, depth_error, _PANEL))
            titles.append(_summary(name, compared))
            present += _class_counts(compared) if names is not None else 0
        if not single:
            written.append(output / f"{stem}.png")
            save_image(written[-1], draw_dense(image, compared, names, depth_error))
        if point_clouds:
            camera = _camera(sample, image.shape[:2], field_of_view, name)
            for what, depth in (("prediction", compared.prediction), ("truth", compared.truth)):
                written.append(written[-1].with_name(f"{stem}_{what}.ply"))
                save_ply(written[-1], *point_cloud(depth, image, camera))
    if rows:
        written.append(output if single else output / "contact_sheet.png")
        width = max(row.shape[1] for row in rows)
        picture = contact_sheet([padded(row, width) for row in rows], titles, columns=1, cell=width)
        save_image(written[-1], _with_classes(picture, present, names))
    return written


def draw_dense(
    image: np.ndarray,
    compared: Compared,
    names: Sequence[str] | None = None,
    depth_error: DepthError = "abs_rel",
    width: int = _LARGE_PANEL,
) -> np.ndarray:
    """Image, ground truth, prediction and error of one image, ``width`` pixels each, with legends: H x W x 3 uint8."""
    picture = _row(image, compared, names, depth_error, width)
    return _with_classes(picture, _class_counts(compared), names)


def _ranked(
    dataset: DenseImages, image_ids: Sequence[int], compare: Callable[[int], Compared], sort: Order
) -> list[int]:
    if sort == "name":
        return sorted(image_ids, key=dataset.file_name)
    errors = {i: compare(i).error for i in image_ids}
    return sorted(image_ids, key=lambda i: (math.isnan(errors[i]), -errors[i], dataset.file_name(i)))


def _camera(sample: Mapping[str, Any], size: Sequence[int], field_of_view: float | None, name: str) -> Intrinsics:
    if sample.get("focal_length") is not None:
        camera = Intrinsics.from_focal_length(size[0], size[1], float(sample["focal_length"]))
        cx, cy = sample.get("principal_point", (camera.cx, camera.cy))
        return camera._replace(cx=cx, cy=cy)
    if field_of_view is None:
        raise ValueError(f"the data set does not know the focal length of {name}; give a field of view in degrees")
    return Intrinsics.from_field_of_view(size[0], size[1], field_of_view)


def _short(dataset: DenseImages, image_id: int) -> str:
    """The file's name and its folder's."""
    return "/".join(PurePosixPath(Path(dataset.file_name(image_id)).as_posix()).parts[-2:])


def _summary(name: str, compared: Compared) -> str:
    scores = compared.scores
    if not scores:
        return f"{name}: no pixel counts"
    if "abs_rel" in scores:
        return f"{name}: AbsRel {scores['abs_rel']:.3f}, RMSE {scores['rmse']:.3f} m, delta1 {scores['delta1']:.3f}"
    return f"{name}: {compared.error:.1%} of the pixels wrong, mIoU {scores['mIoU']:.1%}"


def _row(
    image: np.ndarray, compared: Compared, names: Sequence[str] | None, depth_error: DepthError, width: int
) -> np.ndarray:
    wide = image.shape[1] > _WIDE * image.shape[0]
    shown, _ = fit_into(image, 2 * width if wide else width, round(_TALLEST * width))
    size = (shown.shape[1], shown.shape[0])
    if names is None:
        panels = [shown, *_depth_panels(compared, size, depth_error)]
        titles = (*_TITLES, _ERROR_TITLES[depth_error])
    else:
        panels = [shown, *_sem_seg_panels(shown, compared)]
        titles = (*_TITLES, "wrong labels")
    if not wide:
        return in_a_row(panels, titles)
    most = max(panel.shape[1] for panel in panels)
    panels = [padded(panel, most) for panel in panels]
    return np.concatenate([in_a_row(panels[:2], titles[:2]), in_a_row(panels[2:], titles[2:])])


def _sem_seg_panels(image: np.ndarray, compared: Compared) -> list[np.ndarray]:
    """Ground truth and prediction over the image, and what is wrong."""
    everywhere = np.ones(compared.truth.shape, dtype=bool)
    size = (image.shape[1], image.shape[0])
    truth, prediction = (fit_map(m, everywhere, *size)[0] for m in (compared.truth, compared.prediction))
    overlays = [overlay_sem_seg(image, labels, legend=False, min_side=1) for labels in (truth, prediction)]
    return [*overlays, sem_seg_error_to_rgb(image, prediction, truth)]


def _depth_panels(compared: Compared, size: tuple[int, int], kind: DepthError) -> list[np.ndarray]:
    """Ground truth and prediction in the same colours, and the error."""
    known = compared.truth > 0
    values = compared.truth[known] if known.any() else compared.prediction
    near, far = np.percentile(values, [1, 99]).tolist()
    far = max(far, near * 1.01 + 1e-6)
    truth, shown = fit_map(compared.truth, known, *size)
    prediction = fit_map(compared.prediction, np.ones_like(known), *size)[0]
    where_known = fit_map(compared.prediction, known, *size)[0]  # the prediction at the very pixels of the ground truth
    truth = np.where(shown, truth, 0)
    return [
        depth_to_rgb(truth, near, far, legend=False),
        depth_to_rgb(prediction, near, far),
        depth_error_to_rgb(where_known, truth, kind),
    ]


def _class_counts(compared: Compared) -> np.ndarray:
    """Pixels of each label, in the ground truth or predicted where it counts: 256."""
    labels = np.concatenate([compared.truth.ravel(), compared.prediction[compared.truth != _IGNORE]])
    return np.bincount(labels.astype(np.int64), minlength=256)


def _with_classes(picture: np.ndarray, counts: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    """The picture with the classes' colours below, most frequent first."""
    if names is None:
        return picture
    others = {"wrong": WRONG, "not labelled": UNLABELLED}
    return np.concatenate([picture, class_strip(by_frequency(counts), names, picture.shape[1], others, size=16)])
