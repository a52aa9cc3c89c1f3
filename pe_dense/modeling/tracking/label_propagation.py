"""Training-free propagation of labels from frame to frame by the similarity of features.

The protocol is that of DINO (arXiv 2104.14294, section 4.2.2 and its evaluation script) and its variant in DINOv3
(arXiv 2508.10104, appendix D.5): a token takes over the labels of the tokens of earlier frames that resemble it most,
of those that lie near it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Neighborhood = Literal["square", "circle"]
Tile = tuple[slice, slice]
"""Rows and columns of a grid."""


@dataclass(frozen=True)
class LabelPropagation:
    """All numbers of the propagation; the defaults are DINO's. See :meth:`dino` and :meth:`dinov3`.

    Attributes:
        short_side: of the encoder's input, in pixels.
        long_multiple: the long side of the input is rounded down to a multiple of it, in pixels; 0 keeps the frame's
            shape.
        round_up: the sides of the input are then rounded up to whole patches, else down.
        interpolation: of the frame. ``linear`` (OpenCV's, which skips pixels of larger frames) or ``bicubic`` (with
            antialiasing).
        queue: how many of the last frames are looked at, besides the frames with given masks, which always are.
        radius: of the neighbourhood of a token in which similar ones are looked for, in tokens; 0 looks everywhere.
        neighborhood: ``square`` (rows and columns away at most ``radius``) or ``circle`` (Euclidean distance).
        topk: how many tokens of all frames together pass their labels on.
        ties: tokens exactly as similar as the last of them pass theirs on too.
        temperature: similarities (cosines) are divided by it before their softmax.
        renormalize: divide the labels that a token got by their sum before they are passed on.
        argmax: where each pixel gets its label. ``input``: at the input's size, then the nearest pixel of the frame;
            ``frame``: at the frame's size.
        min_score: an object whose soft labels (0..1) are nowhere above it is not in the frame. 0 is the protocols'
            rule: traces of an object that is gone, however faint, make it win somewhere.
        tile: tokens along the side of the squares that are worked on at a time: more take more memory, fewer take more
            time. The result does not depend on it.

    Raises:
        ValueError: for a number that makes no sense, naming it.
    """

    short_side: int = 480
    long_multiple: int = 64
    round_up: bool = False
    interpolation: Literal["linear", "bicubic"] = "linear"
    queue: int = 7
    radius: int = 12
    neighborhood: Neighborhood = "square"
    topk: int = 5
    ties: bool = True
    temperature: float = 0.1
    renormalize: bool = False
    argmax: Literal["input", "frame"] = "input"
    min_score: float = 0.0
    tile: int = 12

    def __post_init__(self) -> None:
        least = {"short_side": 1, "long_multiple": 0, "queue": 0, "radius": 0, "topk": 1, "tile": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, it is {getattr(self, name)}")
        if self.long_multiple > self.short_side:
            raise ValueError(
                f"long_multiple {self.long_multiple} exceeds short_side {self.short_side}: nothing may remain of the "
                f"long side; lower long_multiple, or set it to 0"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, it is {self.temperature:g}")
        if not 0 <= self.min_score < 1:
            raise ValueError(f"min_score must lie in 0..1 (1 excluded), it is {self.min_score:g}")
        _check_choice("interpolation", self.interpolation, ("linear", "bicubic"))
        _check_choice("neighborhood", self.neighborhood, ("square", "circle"))
        _check_choice("argmax", self.argmax, ("input", "frame"))

    @classmethod
    def dino(cls) -> LabelPropagation:
        """DINO's protocol for DAVIS 2017, which PE's tracking results follow."""
        return cls()

    @classmethod
    def dinov3(cls) -> LabelPropagation:
        """DINOv3's protocol for DAVIS 2017, medium size (its small and large ones: ``short_side`` 480 and 1440)."""
        return cls(
            short_side=960,
            long_multiple=0,
            round_up=True,
            interpolation="bicubic",
            neighborhood="circle",
            ties=False,
            temperature=0.2,
            renormalize=True,
            argmax="frame",
        )


def normalized_tokens(features: Tensor) -> Tensor:
    """L2-normalised tokens of a map as :func:`propagate` takes them.

    Args:
        features: C x h x w, of any floating type.

    Returns:
        h x w x C float32.
    """
    return F.normalize(features.permute(1, 2, 0).float(), dim=-1).contiguous()


@torch.no_grad()
def propagate(
    target: Tensor, sources: Sequence[Tensor], labels: Sequence[Tensor], settings: LabelPropagation
) -> Tensor:
    """Soft labels of a frame from those of other frames.

    Per target token, with the cosine c of every source token in its neighbourhood, the k largest ones keep the weight
    exp(c / temperature), the others 0; the weights are divided by their sum. Only the cosines of one tile of targets
    with what lies in its reach exist at a time, so memory does not grow with the square of the number of tokens.

    Args:
        target: h x w x C, L2-normalised.
        sources: tokens of one or more frames, shaped like ``target``.
        labels: soft labels of these frames, h x w x K each.
        settings: ``radius``, ``neighborhood``, ``topk``, ``ties``, ``temperature``, ``renormalize`` and ``tile``.

    Returns:
        h x w x K.

    Raises:
        ValueError: if there are no sources, or shapes differ.
    """
    _check_shapes(target, sources, labels)
    height, width = target.shape[:2]
    result = labels[0].new_empty(labels[0].shape)
    # one buffer for all tiles: fresh memory costs more than what is computed in it
    side = settings.tile + 2 * settings.radius
    cells = height * width if not settings.radius else min(height, side) * min(width, side)
    buffer = target.new_empty(cells * target.shape[2])
    for tile, reach in tiles((height, width), settings):
        result[tile] = _propagate_tile(target, sources, labels, tile, reach, settings, buffer)
    return result / result.sum(-1, keepdim=True) if settings.renormalize else result


def _propagate_tile(
    target: Tensor,
    sources: Sequence[Tensor],
    labels: Sequence[Tensor],
    tile: Tile,
    reach: Tile,
    settings: LabelPropagation,
    buffer: Tensor,
) -> Tensor:
    given = torch.stack([soft[reach] for soft in labels])
    queries, shape = target[tile].flatten(0, 1), sources[0][reach].shape
    tokens = buffer[: math.prod(shape)].view(shape)
    by_frame = target.new_empty(len(queries), len(sources), shape[0] * shape[1])
    for frame, source in enumerate(sources):
        torch.mm(queries, tokens.copy_(source[reach]).flatten(0, 1).T, out=by_frame[:, frame])
    if settings.radius:
        far = outside(tile, reach, settings, target.device)
        by_frame += by_frame.new_zeros(far.shape).masked_fill_(far, -torch.inf)[:, None]  # faster than to fill them all
    soft = _soft_labels(by_frame.flatten(1), given.flatten(0, 2), settings)
    return soft.unflatten(0, target[tile].shape[:2])


def _soft_labels(cosines: Tensor, given: Tensor, settings: LabelPropagation) -> Tensor:
    """Mean of the labels of the most similar sources, weighted by similarity.

    Args:
        cosines: targets x sources; is overwritten.
        given: sources x K.
        settings: ``topk``, ``ties`` and ``temperature``.
    """
    topk, count = min(settings.topk, cosines.shape[1]), min(settings.topk + settings.ties, cosines.shape[1])
    best = cosines.topk(count, dim=1)
    largest = best.values[:, :1]  # taken off, or a low temperature overflows; the quotient stays the same
    weights = (best.values - largest).div_(settings.temperature).exp_()
    if count > topk and bool((weights[:, topk] == weights[:, topk - 1]).any()):
        every = cosines.sub_(largest).div_(settings.temperature).exp_()
        every.masked_fill_(every < every.topk(topk, dim=1).values[:, -1:], 0)
        return (every @ given) / every.sum(1, keepdim=True)
    weights = weights[:, :topk] / weights[:, :topk].sum(1, keepdim=True)  # one more was only looked at
    return (weights[:, None] @ given[best.indices[:, :topk]])[:, 0]


def tiles(grid: tuple[int, int], settings: LabelPropagation) -> Iterator[tuple[Tile, Tile]]:
    """Squares of ``settings.tile`` tokens that cover a grid of (h, w), each with what its neighbourhoods touch."""
    for rows in _parts(grid[0], settings.tile):
        for columns in _parts(grid[1], settings.tile):
            yield (
                (rows, columns),
                (_reach(rows, settings.radius, grid[0]), _reach(columns, settings.radius, grid[1])),
            )


def _parts(length: int, most: int) -> Iterator[slice]:
    """Slices of nearly equal length, at most ``most``, that cover a side."""
    count = -(-length // most)
    ends = [length * i // count for i in range(count + 1)]
    return (slice(start, stop) for start, stop in pairwise(ends))


def _reach(part: slice, radius: int, length: int) -> slice:
    """The tokens of a side that the neighbourhoods of a part of it touch."""
    if not radius:
        return slice(0, length)
    return slice(max(0, part.start - radius), min(length, part.stop + radius))


def outside(tile: Tile, reach: Tile, settings: LabelPropagation, device: torch.device) -> Tensor:
    """(targets of a tile) x (sources in its reach) bool: which source lies outside a target's neighbourhood."""
    down = _distances(tile[0], reach[0], device)[:, None, :, None]
    across = _distances(tile[1], reach[1], device)[None, :, None, :]
    if settings.neighborhood == "square":
        far = (down > settings.radius) | (across > settings.radius)
    else:
        far = down**2 + across**2 > settings.radius**2
    return far.flatten(2).flatten(0, 1)


def _distances(part: slice, others: slice, device: torch.device) -> Tensor:
    """Tokens between each of a part and each of the others, along one side."""
    positions = [torch.arange(s.start, s.stop, device=device) for s in (part, others)]
    return (positions[0][:, None] - positions[1]).abs()


def _check_shapes(target: Tensor, sources: Sequence[Tensor], labels: Sequence[Tensor]) -> None:
    if not sources or len(sources) != len(labels):
        raise ValueError(
            f"{len(sources)} source frames and {len(labels)} label maps: give one or more, as many of both"
        )
    for source, soft in zip(sources, labels):
        if source.shape != target.shape or soft.shape[:2] != target.shape[:2] or soft.shape != labels[0].shape:
            raise ValueError(
                f"frames must have the same grid: target {tuple(target.shape)}, source {tuple(source.shape)}, labels "
                f"{tuple(soft.shape)}"
            )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f'{name} "{value}" is none of {", ".join(choices)}')
