"""Attention to a few positions, predicted per query, on feature maps of several resolutions.

Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3). A query reads each map at a few
positions, bilinearly and with zeros around the map. That is a weighted sum of four times as many rows of a table, one
row per cell and head: ``embedding_bag``, which holds none of the rows that it adds up.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Sequence[tuple[int, int]]
_FORWARD_POINTS = 1 << 17  # positions worked on at a time: what lies in between stays in the processor's caches
_BACKWARD_POINTS = 1 << 20  # more, so that each row of the table is added to a few times only


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention with its projections; parameter names as in the official files.

    Args:
        dim: channels of queries and values.
        num_heads: M; divides ``dim``.
        num_levels: L, feature maps.
        num_points: P, positions per head and map.

    Raises:
        ValueError: if the heads do not divide the channels.
    """

    def __init__(self, dim: int, num_heads: int = 8, num_levels: int = 4, num_points: int = 4) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"deformable attention: dim {dim} is not divisible by num_heads {num_heads}")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        positions = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(dim, 2 * positions)
        self.attention_weights = nn.Linear(dim, positions)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.init_weights()

    def init_weights(self) -> None:
        """Whatever the query, each head looks in a direction of its own, each point one cell further (section A.4)."""
        angle = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        reach = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        bias = (direction[:, None, None] * reach[:, None]).expand(-1, self.num_levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.flatten())
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, query: Tensor, reference: Tensor, value: Tensor, shapes: Shapes, padding: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            query: B x Q x C.
            reference: B x Q x L x 2 points (x, y) as fractions of each map, from which offsets count in cells; or
                B x Q x L x 4 boxes (centre x, y, width, height), from whose centres the furthest of the first
                initial offsets reaches to the edge.
            value: B x S x C, the cells of all maps one after another.
            shapes: (height, width) of each map.
            padding: B x S, True for cells that count as zero.

        Returns:
            B x Q x C.
        """
        batch, queries, _ = query.shape
        layout = (self.num_heads, self.num_levels, self.num_points)
        cells = self.value_proj(value)
        if padding is not None:
            cells = cells.masked_fill(padding[..., None], 0.0)
        cells = cells.view(batch, -1, self.num_heads, cells.shape[-1] // self.num_heads)
        offsets = self.sampling_offsets(query).float().view(batch, queries, *layout, 2)
        weights = self.attention_weights(query).float().view(batch, queries, self.num_heads, -1).softmax(-1)
        centre = reference[:, :, None, :, None, :2]
        if reference.shape[-1] == 4:
            locations = centre + offsets * reference[:, :, None, :, None, 2:] * (0.5 / self.num_points)
        else:
            sizes = torch.tensor([[width, height] for height, width in shapes], dtype=torch.float32)
            locations = centre + offsets / sizes.to(query.device, non_blocking=True)[:, None]
        out = deformable_attention(cells, shapes, locations, weights.view(batch, queries, *layout))
        return self.output_proj(out)


def deformable_attention(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of values at positions between the cells of feature maps.

    Positions and sums are float32 whatever the type of ``value``. On a GPU with Triton one kernel does it all;
    elsewhere, and while a compiler or exporter traces, PyTorch's own operations.

    Args:
        value: B x S x M x D, the cells of all maps one after another (M heads); S is the sum of height * width.
        shapes: (height, width) of each of the L maps.
        locations: B x Q x M x L x P x 2, positions (x, y) as fractions of a map's width and height: 0 and 1 are the
            outer edges of the first and last cell. Beyond the edges values fall to zero.
        weights: B x Q x M x L x P.

    Returns:
        B x Q x (M * D) of the type of ``value``.

    Raises:
        ValueError: if the sizes do not fit together.
    """
    _check(value, shapes, locations, weights)
    locations, weights = locations.float(), weights.float()
    tracing = torch.compiler.is_compiling()
    if value.is_cuda and _has_triton() and not tracing:
        from pe_dense.layers.deformable_attention_triton import attend  # there is no Triton on every machine

        return attend(value, shapes, locations, weights)
    if tracing:
        images = zip(_bordered(value.float(), shapes), locations, weights)
        out = torch.stack([_attend(*image, _Cells.of(shapes, weights)) for image in images])
    else:
        out = _DeformableAttention.apply(value.float(), locations, weights, shapes)
    return out.to(value.dtype)


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _check(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> None:
    cells = sum(height * width for height, width in shapes)
    batch, tokens, heads, _ = value.shape
    expected = (batch, weights.shape[1], heads, len(shapes), weights.shape[-1])
    if tokens != cells or tuple(weights.shape) != expected or tuple(locations.shape) != (*expected, 2):
        raise ValueError(
            f"deformable attention: value {tuple(value.shape)} and maps {list(shapes)} ({cells} cells in all) ask for "
            f"weights of B x Q x {heads} x {len(shapes)} x P and locations of the same and 2; got "
            f"{tuple(weights.shape)} and {tuple(locations.shape)}"
        )


def _bordered(value: Tensor, shapes: Shapes) -> Tensor:
    """Table of B x (cells * M) x D, each map with a border of zeros, so that no position needs a case of its own."""
    cells = sum((height + 2) * (width + 2) for height, width in shapes)
    table = value.new_zeros(value.shape[0], cells, *value.shape[2:])
    for inner, part, shape in _maps(table, value, shapes):
        inner.copy_(part.unflatten(1, shape))
    return table.flatten(1, 2)


def _maps(table: Tensor, value: Tensor, shapes: Shapes) -> Iterator[tuple[Tensor, Tensor, tuple[int, int]]]:
    """For each map the inside of its border in a table (B x h x w x M x D), its cells, and its size."""
    start = 0
    for part, (height, width) in zip(value.split([h * w for h, w in shapes], dim=1), shapes):
        size = (height + 2) * (width + 2)
        grid = table[:, start : start + size].unflatten(1, (height + 2, width + 2))
        yield grid[:, 1:-1, 1:-1], part, (height, width)
        start += size


@dataclass
class _Cells:
    """Per head, level and point (N in all): the map that it lies on.

    Attributes:
        width, height: N float32, cells of the map.
        below: N int32, table rows from a cell to the one below it.
        base: N int32, table row of the cell (0, 0) of the head.
        heads: table rows from a cell to the one on its right.
    """

    width: Tensor
    height: Tensor
    below: Tensor
    base: Tensor
    heads: int

    @classmethod
    def of(cls, shapes: Shapes, weights: Tensor) -> _Cells:
        heads, levels, points = weights.shape[-3:]
        numbers, start = [], 0
        for rows, columns in shapes:
            below = (columns + 2) * heads
            numbers.append([columns, rows, below, start + below + heads])
            start += (rows + 2) * below
        table = torch.tensor(numbers).to(weights.device, non_blocking=True).T[:, None, :, None]
        width, height, down, base = table.expand(-1, heads, -1, points).flatten(1).unbind()
        head = torch.arange(heads, device=weights.device).repeat_interleave(levels * points)
        return cls(width.float(), height.float(), down.int(), (base + head).int(), heads)

    def place(self, locations: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Where positions lie.

        Args:
            locations: q x M x L x P x 2.

        Returns:
            q x N each: table row of the upper left of the four cells around a position; how far right and down of its
            centre the position is, in cells; and the position (x, y) in cells, before it is moved to the border.
        """
        x = (locations[..., 0].flatten(1) * self.width).sub_(0.5)
        y = (locations[..., 1].flatten(1) * self.height).sub_(0.5)
        right, column = _split(x, self.width)
        down, row = _split(y, self.height)
        index = row.mul_(self.below).add_(column.mul_(self.heads)).add_(self.base)
        return index, right, down, x, y

    def corners(self, index: Tensor) -> list[Tensor]:
        """Table rows of the four cells: upper left, upper right, lower left, lower right."""
        lower = index + self.below
        return [index, index + self.heads, lower, lower + self.heads]


def _split(at: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Position along an axis as what is left over and the cell before it, -1 .. cells - 1 (int32)."""
    at = torch.minimum(at, cells).clamp_(min=-1)
    cell = torch.minimum(at.floor(), cells - 1)
    return at - cell, cell.to(torch.int32).clamp_(min=-1)  # the latter for NaN, which stays in what is left over


def _corner_weights(weights: Tensor, right: Tensor, down: Tensor) -> list[Tensor]:
    lower = weights * down
    upper = weights - lower
    upper_right, lower_right = upper * right, lower * right
    return [upper - upper_right, upper_right, lower - lower_right, lower_right]


def _attend(table: Tensor, locations: Tensor, weights: Tensor, cells: _Cells) -> Tensor:
    """q x (M * D) from one image's table and q queries."""
    index, right, down, *_ = cells.place(locations)
    shape = (weights.shape[0] * cells.heads, -1)
    parts = [
        F.embedding_bag(rows.view(shape), table, mode="sum", per_sample_weights=w.view(shape))
        for rows, w in zip(cells.corners(index), _corner_weights(weights.flatten(1), right, down))
    ]
    return (parts[0] + parts[1] + parts[2] + parts[3]).view(weights.shape[0], -1)


class _DeformableAttention(torch.autograd.Function):
    """Works in pieces, and computes in the backward pass again what would be large to keep."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
        ctx.save_for_backward(value, locations, weights)
        ctx.shapes = shapes
        table = _bordered(value, shapes)
        cells = _Cells.of(shapes, weights)
        out = table.new_empty(*weights.shape[:2], cells.heads * table.shape[-1])
        for b, part in _pieces(weights, _FORWARD_POINTS):
            out[b, part] = _attend(table[b], locations[b, part], weights[b, part], cells)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:  # type: ignore[override]  # one result
        value, locations, weights = ctx.saved_tensors
        table, cells = _bordered(value, ctx.shapes), _Cells.of(ctx.shapes, weights)
        grad_table = torch.zeros_like(table) if ctx.needs_input_grad[0] else None
        grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
        for b, part in _pieces(weights, _BACKWARD_POINTS):
            rows = grad[b, part].reshape(-1, table.shape[-1])
            index, right, down, x, y = cells.place(locations[b, part])
            given = weights[b, part].flatten(1)
            products = [_products(table[b], i, rows) for i in cells.corners(index)]
            moved = _location_gradient(products, given, right, down, x, y, cells)
            grad_locations[b, part] = moved.view_as(grad_locations[b, part])
            upper_left, upper_right, lower_left, lower_right = products
            upper, lower = torch.lerp(upper_left, upper_right, right), torch.lerp(lower_left, lower_right, right)
            grad_weights[b, part] = torch.lerp(upper, lower, down).view_as(grad_weights[b, part])
            if grad_table is not None:
                _add_to_table(grad_table[b], rows, cells.corners(index), _corner_weights(given, right, down))
        return _cells_only(grad_table, value, ctx.shapes), grad_locations, grad_weights, None


def _cells_only(table: Tensor | None, value: Tensor, shapes: Shapes) -> Tensor | None:
    """A table's rows as ``value`` has them, without the borders."""
    if table is None:
        return None
    out = torch.empty_like(value)
    for inner, part, shape in _maps(table.unflatten(1, (-1, value.shape[2])), out, shapes):
        part.unflatten(1, shape).copy_(inner)
    return out


def _pieces(weights: Tensor, points: int) -> Iterator[tuple[int, slice]]:
    """Image and range of queries with about so many positions."""
    step = max(1, points // math.prod(weights.shape[2:]))
    for b in range(weights.shape[0]):
        for start in range(0, weights.shape[1], step):
            yield b, slice(start, start + step)


def _products(table: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Dot product of each position's table row with the gradient of its sum: q x N."""
    bags = index.view(len(rows), -1)
    weights = torch.ones(bags.shape, device=table.device, requires_grad=True)
    with torch.enable_grad():
        out = F.embedding_bag(bags, table.detach(), mode="sum", per_sample_weights=weights)
    return torch.autograd.grad(out, weights, rows)[0].view_as(index)


def _location_gradient(
    products: list[Tensor], weights: Tensor, right: Tensor, down: Tensor, x: Tensor, y: Tensor, cells: _Cells
) -> Tensor:
    """q x N x 2; zero beyond the border, where nothing changes any more."""
    a, b, c, d = products
    along_x = torch.lerp(b - a, d - c, down) * weights * cells.width * ((x >= -1) & (x <= cells.width))
    along_y = torch.lerp(c - a, d - b, right) * weights * cells.height * ((y >= -1) & (y <= cells.height))
    return torch.stack([along_x, along_y], dim=-1)


def _add_to_table(grad_table: Tensor, rows: Tensor, corners: list[Tensor], weights: list[Tensor]) -> None:
    """Gradient of the table: sorted by table row, the positions of a row are a bag of rows of the gradient.

    One order serves all four corners: positions that share one share all.
    """
    ordered, order = corners[0].flatten().sort()
    counts = ordered.unique_consecutive(return_counts=True)[1]
    starts = counts.cumsum(0) - counts
    sources = order // (order.numel() // len(rows))
    for corner, weight in zip(corners, weights):
        part = F.embedding_bag(sources, rows, starts, mode="sum", per_sample_weights=weight.flatten()[order])
        grad_table.index_add_(0, corner.flatten()[order[starts]].long(), part)
