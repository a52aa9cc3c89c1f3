"""Dense features of any image, for code that has its own use for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.engine.settings import pick_device
from pe_dense.modeling.backbone import EncoderFeatures, LayerFeatures, PerceptionEncoder
from pe_dense.modeling.backbone.builders import find_size
from pe_dense.modeling.backbone.features import block_numbers, covered_cells
from pe_dense.modeling.segmentation import Window, window_grid
from pe_dense.modeling.segmentation.inference import resized
from pe_dense.prediction.encoder_source import official_encoder
from pe_dense.prediction.feature_maps import FeatureMaps
from pe_dense.prediction.images import ImageLike, as_batch


def features(
    name: str,
    layers: int | Sequence[int] = -1,
    weights: str | os.PathLike[str] | None = "official",
    *,
    norm: bool = False,
    class_token: bool = False,
    resize: int | tuple[int, int] | None = None,
    window: int | None = None,
    window_stride: int | None = None,
    batch_size: int = 8,
    device: torch.device | str = "auto",
    dtype: torch.dtype = torch.float32,
) -> FeatureExtractor:
    """Dense features from an official Perception Encoder: ``features("PE-Spatial-B16-512")("street.jpg")[-1]``.

    Args:
        name: official name, such as ``PE-Core-L14-336``, ``PE-Lang-G14-448`` or ``PE-Spatial-S16-512``.
        weights: ``"official"`` takes the encoder's own from the Hugging Face hub; a path those in the file (official,
            timm's, or the checkpoint of a run with an encoder of that size); ``None`` random ones, with a warning.
        layers, norm, class_token, resize, window, window_stride, batch_size, device, dtype: see
            :class:`FeatureExtractor`.

    Raises:
        ValueError: for an unknown name (the message has the nearest ones), or a setting that does not fit.
        FileNotFoundError, WeightsError: if there are no weights, or they do not fit.
    """
    size = find_size(name)
    encoder = official_encoder(size, size.name if weights == "official" else weights, pool=False, ln_post=size.is_core)
    return FeatureExtractor(
        encoder,
        layers,
        norm=norm,
        class_token=class_token,
        resize=resize,
        window=window,
        window_stride=window_stride,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )


class FeatureExtractor:
    """Images in, maps of the encoder's layers out.

    An image is padded at the bottom and right to whole patches, and its maps have the cells that it covers. Without
    windows the whole image is seen at once; with windows, its maps are blended from overlapping windows of whole
    patches, each weighted by the distance to its border; beside image and maps, memory does not grow with the image.

    Args:
        encoder: is put on ``device``, into evaluation mode and ``dtype``, and frozen.
        layers: 0-based block or blocks; negative ones count from the last.
        norm: apply the encoder's final norm to maps and class tokens (PE-Core has one).
        class_token: also give the class token, the mean of those of all windows; PE-G has none.
        resize: shorter side in pixels, or (height, width), that images are resized to first (bilinear, antialiased);
            ``None`` keeps them as they are.
        window: side of square windows in pixels, rounded up to whole patches; ``None`` shows images whole. The
            encoder's native image size is a good choice.
        window_stride: pixels from one window to the next, rounded down to whole patches; ``None`` is two thirds of
            ``window``.
        batch_size: images of equal size, or windows, that the encoder sees at once.
        pixel_mean, pixel_std: normalisation of 0..255 pixels, per channel (RGB).
        device: see :func:`pick_device`; the maps lie there.
        dtype: of weights and maps.

    Attributes:
        encoder: as above.
        layers: the blocks, from 0.
        embed_dim: C, the channels of each map.
        stride: pixels per cell.

    Raises:
        ValueError: for a layer, norm or class token that the encoder does not have, or a setting that makes no sense.
    """

    def __init__(
        self,
        encoder: PerceptionEncoder,
        layers: int | Sequence[int] = -1,
        *,
        norm: bool = False,
        class_token: bool = False,
        resize: int | tuple[int, int] | None = None,
        window: int | None = None,
        window_stride: int | None = None,
        batch_size: int = 8,
        pixel_mean: Sequence[float] | Tensor = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] | Tensor = (127.5, 127.5, 127.5),
        device: torch.device | str = "auto",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        _check_settings(resize, window, window_stride, batch_size, dtype)
        if class_token and not encoder.use_cls_token:
            raise ValueError("class_token=True, but this encoder has none; leave it out")
        wanted = list(dict.fromkeys(block_numbers(encoder, [layers] if isinstance(layers, int) else layers)))
        self.device, self.dtype = pick_device(str(device)), dtype
        self.encoder = encoder.to(self.device, dtype).eval()
        self._neck = EncoderFeatures(encoder, wanted, norm, trainable_blocks=0)
        self.layers, self.embed_dim, self.stride = wanted, encoder.embed_dim, encoder.patch_size
        self.class_token, self.resize, self.batch_size = class_token, resize, batch_size
        self._crop = None if window is None else -(-window // self.stride)  # in cells, as all about windows
        self._step = 2 * (self._crop or 0) // 3 if window_stride is None else window_stride // self.stride
        self._mean, self._std = (
            torch.tensor([float(v) for v in values], device=self.device).view(3, 1, 1)
            for values in (pixel_mean, pixel_std)
        )

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...], grad: bool = False) -> list[FeatureMaps]: ...

    @overload
    def __call__(self, images: ImageLike, grad: bool = False) -> FeatureMaps: ...

    def __call__(
        self, images: ImageLike | list[Any] | tuple[Any, ...], grad: bool = False
    ) -> FeatureMaps | list[FeatureMaps]:
        """Features of one image, a batch of equal size, or a list.

        Args:
            images: a path (any file format: grey, with alpha, 16-bit), a PIL image, an H x W x 3 uint8 RGB array, a
                3 x H x W RGB tensor (uint8, or floats from 0 to 1); batches of such arrays or tensors; or a list or
                tuple of images of any sizes.
            grad: keep what gradients need, with respect to a tensor of floats; the encoder itself is frozen.

        Returns:
            Maps with N = 1, those of the batch, or a list with N = 1 for each.

        Raises:
            TypeError, ValueError: for images of another form.
            FileNotFoundError, DataError: if a file is missing or cannot be decoded.
        """
        with torch.set_grad_enabled(grad):
            if not isinstance(images, (list, tuple)):
                return self._maps(as_batch(images))
            return self._each([as_batch(image) for image in images])

    def _each(self, batches: list[Tensor]) -> list[FeatureMaps]:
        """Images that are alike together, up to a batch."""
        found: dict[int, FeatureMaps] = {}
        alike: dict[Any, list[int]] = {}
        for number, batch in enumerate(batches):
            if len(batch) != 1:
                raise ValueError(f"image {number} of the list is a batch of {len(batch)}; give batches by themselves")
            alike.setdefault((batch.shape, batch.dtype, batch.device), []).append(number)
        for numbers in alike.values():
            for start in range(0, len(numbers), self.batch_size):
                some = numbers[start : start + self.batch_size]
                found.update(zip(some, _split(self._maps(torch.cat([batches[i] for i in some])))))
        return [found[number] for number in range(len(batches))]

    def _maps(self, batch: Tensor) -> FeatureMaps:
        given = (int(batch.shape[-2]), int(batch.shape[-1]))
        seen = self._seen_size(given)
        images = [resized(image, seen) for image in batch]
        rows, columns = covered_cells(self._neck, seen)
        windows = window_grid(rows, columns, self._crop or max(rows, columns), max(1, self._step))
        layers = self._seen_whole(images, windows[0]) if len(windows) == 1 else self._blended(images, windows)
        maps, tokens = {}, {}
        for block, layer in zip(self.layers, layers):
            maps[block] = layer.map
            if self.class_token and layer.cls is not None:
                tokens[block] = layer.cls
        return FeatureMaps(maps, self.encoder.depth, self.stride, seen, given, tokens)

    def _seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        if not isinstance(self.resize, int):
            return size if self.resize is None else (int(self.resize[0]), int(self.resize[1]))
        height, width = (max(1, int(side * self.resize / min(size) + 0.5)) for side in size)
        return height, width

    def _seen_whole(self, images: list[Tensor], window: Window) -> list[LayerFeatures]:
        parts = [
            self._neck(torch.stack([self._shown(image, window) for image in images[i : i + self.batch_size]]))
            for i in range(0, len(images), self.batch_size)
        ]
        return [
            LayerFeatures(
                torch.cat([p.map for p in layer]).contiguous(),
                None if layer[0].cls is None else torch.cat([p.cls for p in layer]),
            )
            for layer in zip(*parts)
        ]

    def _blended(self, images: list[Tensor], windows: list[Window]) -> list[LayerFeatures]:
        """Weighted means of the windows' maps, and means of their class tokens; the windows have one size."""
        options: Any = {"device": self.device, "dtype": torch.float32}
        grid = (max(w.bottom for w in windows), max(w.right for w in windows))
        weight = blend_weight(*windows[0].size).to(self.device)
        total = torch.zeros(grid, **options)
        for top, bottom, left, right in windows:
            total[top:bottom, left:right] += weight
        maps = [torch.zeros(len(images), self.embed_dim, *grid, **options) for _ in self.layers]
        tokens = [torch.zeros(len(images), self.embed_dim, **options) for _ in self.layers]
        views = [(number, window) for number in range(len(images)) for window in windows]
        for start in range(0, len(views), self.batch_size):
            some = views[start : start + self.batch_size]
            found = self._neck(torch.stack([self._shown(images[number], window) for number, window in some]))
            for layer, whole, token in zip(found, maps, tokens):
                for row, (number, (top, bottom, left, right)) in enumerate(some):
                    whole[number, :, top:bottom, left:right] += layer.map[row] * weight
                    if layer.cls is not None and self.class_token:
                        token[number] += layer.cls[row] / len(windows)
        return [
            LayerFeatures(whole.div_(total).to(self.dtype), token.to(self.dtype)) for whole, token in zip(maps, tokens)
        ]

    def _shown(self, image: Tensor, window: Window) -> Tensor:
        """A window (in cells) of an image, normalised, the image's border filled up with zeros: 3 x height x width."""
        top, bottom, left, right = (side * self.stride for side in window)
        pixels = image[:, top:bottom, left:right].to(self.device)
        pixels = (pixels.float() - self._mean) / self._std
        missing = (0, right - left - pixels.shape[-1], 0, bottom - top - pixels.shape[-2])
        return F.pad(pixels, missing).to(self.dtype)


def blend_weight(height: int, width: int) -> Tensor:
    """height x width weights of a window's cells: distances to its border, at least 1, of both axes multiplied."""
    rows, columns = (torch.minimum(torch.arange(1, n + 1), torch.arange(n, 0, -1)).float() for n in (height, width))
    return rows[:, None] * columns


def _split(maps: FeatureMaps) -> list[FeatureMaps]:
    """The images of a batch one by one."""
    count = len(next(iter(maps.values())))
    return [
        FeatureMaps(
            {block: value[i : i + 1] for block, value in maps.maps.items()},
            maps.depth,
            maps.stride,
            maps.seen_size,
            maps.image_size,
            {block: value[i : i + 1] for block, value in maps.class_tokens.items()},
        )
        for i in range(count)
    ]


def _check_settings(
    resize: int | tuple[int, int] | None,
    window: int | None,
    window_stride: int | None,
    batch_size: int,
    dtype: torch.dtype,
) -> None:
    sides = [resize] if isinstance(resize, int) else [1, 1] if resize is None else list(resize)
    if min(sides) < 1 or (not isinstance(resize, int) and len(sides) != 2):
        raise ValueError(f"resize is {resize}: give the shorter side in pixels, or (height, width)")
    for name, value in (("window", window), ("window_stride", window_stride), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, it is {value}")
    if window_stride is not None and (window is None or window_stride > window):
        raise ValueError(f"window_stride is {window_stride} but window is {window}: give a window not smaller than it")
    if not dtype.is_floating_point:
        raise ValueError(f"dtype is {dtype}: give torch.float32, torch.bfloat16 or torch.float16")
