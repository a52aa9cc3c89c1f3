"""Painter's algorithm: far to near, each object antialiased over what is behind it, with exact masks and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pe_dense.data.scenes.backdrop import Backdrop
from pe_dense.data.scenes.shapes import area
from pe_dense.data.scenes.world import Camera, Thing

_OVERSAMPLE = 8
_RELIEF = 0.05  # metres by which the middle of an object bulges towards the camera


@dataclass(frozen=True)
class Silhouette:
    """The whole outline of one object in the image, as if nothing were in front of it.

    Attributes:
        thing: the object.
        window: rows and columns of the image that the crop covers.
        alpha: h x w float32, covered part of each pixel.
        mask: h x w bool, pixels covered by at least a half.
        center: column and row of the object's origin.
        radius: pixels of the unit circle.
        pixels: area of the whole object, also outside the image.
        extent: x0, y0, x1, y1 of the whole object, also outside the image.
    """

    thing: Thing
    window: tuple[slice, slice]
    alpha: np.ndarray
    mask: np.ndarray
    center: tuple[float, float]
    radius: float
    pixels: float
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class Rendering:
    """One picture and its ground truth.

    Attributes:
        image: H x W x 3 uint8 RGB.
        owner: H x W int32, index into the list of silhouettes of the object seen in a pixel, -1 = background.
        depth: H x W float32 metres.
        mixed: H x W bool, pixels in which an object and something behind it blend.
        floor: H x W bool, pixels of the background that are floor.
    """

    image: np.ndarray
    owner: np.ndarray
    depth: np.ndarray
    mixed: np.ndarray
    floor: np.ndarray


def silhouettes(camera: Camera, things: Sequence[Thing]) -> list[Silhouette]:
    """Rasterise each object that is at least partly in the image, far to near."""
    ordered = sorted(things, key=lambda t: -t.z)
    found = (_silhouette(camera, thing) for thing in ordered)
    return [s for s in found if s is not None]


def _silhouette(camera: Camera, thing: Thing) -> Silhouette | None:
    contours, center, radius = thing.outline(camera)
    low, high = contours[0].min(axis=0), contours[0].max(axis=0)
    x0, y0 = (max(0, int(np.floor(v)) - 1) for v in low)
    x1, y1 = (min(camera.size, int(np.ceil(v)) + 1) for v in high)
    if x1 <= x0 or y1 <= y0:
        return None
    fine = np.zeros(((y1 - y0) * _OVERSAMPLE, (x1 - x0) * _OVERSAMPLE), dtype=np.uint8)
    # a sample's centre is at +0.5, OpenCV puts it at the whole number; 4 fractional bits
    fixed = [np.round(((c - [x0, y0]) * _OVERSAMPLE - 0.5) * 16).astype(np.int32) for c in contours]
    cv2.fillPoly(fine, fixed, 255, shift=4)
    alpha = cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return Silhouette(
        thing=thing,
        window=(slice(y0, y1), slice(x0, x1)),
        alpha=alpha,
        mask=alpha >= 0.5,
        center=center,
        radius=radius,
        pixels=area(contours),
        extent=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
    )


def owners(size: int, shapes: Sequence[Silhouette]) -> np.ndarray:
    """Which silhouette is seen in each pixel: size x size int32, -1 = background."""
    owner = np.full((size, size), -1, dtype=np.int32)
    for index, shape in enumerate(shapes):
        owner[shape.window][shape.mask] = index
    return owner


def render(camera: Camera, backdrop: Backdrop, shapes: Sequence[Silhouette], light: float) -> Rendering:
    """Draw a scene.

    Args:
        camera: the camera the silhouettes were made with.
        backdrop: what is behind the objects.
        shapes: silhouettes, far to near.
        light: direction the light comes from, radians in the image plane.
    """
    image = backdrop.image * _shadows(camera, shapes, light)[..., None]
    depth, mixed = backdrop.depth.copy(), np.zeros(backdrop.depth.shape, dtype=bool)
    for shape in shapes:
        color, bulge = _paint(shape, light)
        part = image[shape.window]
        part += (color - part) * shape.alpha[..., None]
        depth[shape.window] = np.where(shape.mask, shape.thing.z - bulge * _RELIEF, depth[shape.window])
        opaque = shape.alpha > 0.98
        mixed[shape.window] = np.where(opaque, False, mixed[shape.window] | (shape.alpha > 0.02))
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return Rendering(pixels, owners(camera.size, shapes), depth, mixed, backdrop.floor)


def _paint(shape: Silhouette, light: float) -> tuple[np.ndarray, np.ndarray]:
    """Shaded colour (h x w x 3) of an object and how far each pixel bulges towards the camera (h x w, 0 to 1)."""
    rows, columns = shape.window
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - shape.center[0]) / shape.radius
    y = (shape.center[1] - np.arange(rows.start, rows.stop, dtype=np.float32) - 0.5) / shape.radius
    cos, sin = np.float32(np.cos(shape.thing.rotation)), np.float32(np.sin(shape.thing.rotation))
    x = x[None] / np.float32(shape.thing.squeeze)
    color = shape.thing.texture((x * cos + y[:, None] * sin).astype(np.float32), (y[:, None] * cos - x * sin))
    inside = cv2.distanceTransform((shape.alpha > 0).astype(np.uint8), cv2.DIST_L2, 3)
    bulge = np.sqrt(np.clip(inside / (0.3 * shape.radius), 0, 1))
    smooth = cv2.GaussianBlur(bulge, (0, 0), max(0.6, 0.05 * shape.radius))
    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=shape.radius / 8)
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=shape.radius / 8)
    facing = slope_x * np.float32(np.cos(light)) - slope_y * np.float32(np.sin(light))
    shade = np.clip(0.97 - 0.14 * facing, 0.45, 1.2)
    return np.clip(color * shade[..., None], 0, 1), bulge


def _shadows(camera: Camera, shapes: Sequence[Silhouette], light: float) -> np.ndarray:
    """Soft contact shadows on the floor: H x W float32 factor of brightness."""
    layer = np.zeros((camera.size, camera.size), dtype=np.float32)
    for shape in shapes:
        thing = shape.thing
        column, row = camera.project(thing.x - 0.25 * np.cos(light), 0.0, thing.z)
        half = shape.radius * thing.squeeze
        tall = max(1.0, half * camera.height / thing.z * 0.55)
        center, axes = (round(column * 16), round(row * 16)), (round(half * 16), round(tall * 16))
        strength = 0.55 / (1 + 1.2 * thing.lift)
        spot = np.zeros_like(layer)
        cv2.ellipse(spot, center, axes, 0, 0, 360, strength, -1, cv2.LINE_8, shift=4)
        np.maximum(layer, spot, out=layer)
    return 1 - cv2.GaussianBlur(layer, (0, 0), camera.size / 90)
