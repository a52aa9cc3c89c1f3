"""The Perception Encoder's vision transformer: one class for every tower and every use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pe_dense.layers.windows import WindowOrder
from pe_dense.modeling.backbone.block import Attention, AttentionPool, Block, LayerScale
from pe_dense.modeling.backbone.geometry import Geometry, make_geometry

AbsPos = Literal["bilinear", "bicubic", "tile"]
RopePositions = Literal["index", "rescaled"]
_CACHED_GRIDS = 16


class Transformer(nn.Module):
    """Holds the blocks under their official name."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)


class PerceptionEncoder(nn.Module):
    """Perception Encoder vision tower (arXiv 2504.13181). Parameter names are those of the official files.

    Args:
        embed_dim: C, channels of every token.
        depth: number of blocks.
        num_heads: attention heads.
        mlp_dim: hidden channels of the MLPs.
        patch_size: pixels along a patch's side.
        grid_size: side of the stored position table, in patches.
        use_cls_token: whether a class token runs along; must be off with windows.
        layer_scale: initial LayerScale value, ``None`` for none.
        use_ln_post: final LayerNorm (Core towers).
        pool: attention pooling in :meth:`forward` (Core towers).
        output_dim: projection after the pooling, ``None`` for none.
        window_size: side of the attention windows in patches, 0 for global attention everywhere.
        global_blocks: 0-based blocks that attend globally although ``window_size`` is set.
        abs_pos: how the position table is fitted to another grid. ``bilinear``: the encoder's own way; ``bicubic``
            and ``tile`` (repeat and crop): the released detectors' ways.
        rope: ``index`` counts patches (larger grids extrapolate); ``rescaled`` maps the grid, or a window in
            windowed blocks, onto ``rope_reference`` positions.
        rope_reference: positions spanned in ``rescaled`` mode; ``None`` takes ``grid_size``.
        drop_path_rate: stochastic depth of the last block, linear from 0 at the first.
        checkpoint_every: recompute every n-th block's activations in the backward pass; 0 keeps all.
        mask_padding: hide the tokens that fill up incomplete windows. ``False`` lets them take part as zeros, as
            the released detectors do.

    Raises:
        ValueError: for sizes that do not fit together.
    """

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_dim: int,
        patch_size: int = 16,
        grid_size: int = 32,
        use_cls_token: bool = False,
        layer_scale: float | None = None,
        use_ln_post: bool = False,
        pool: bool = False,
        output_dim: int | None = None,
        window_size: int = 0,
        global_blocks: Sequence[int] = (),
        abs_pos: AbsPos = "bilinear",
        rope: RopePositions = "index",
        rope_reference: int | None = None,
        drop_path_rate: float = 0.0,
        checkpoint_every: int = 0,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not divisible by num_heads {num_heads}")
        if window_size and use_cls_token:
            raise ValueError("window_size > 0 needs use_cls_token=False: a class token belongs to no window")
        if any(not 0 <= b < depth for b in global_blocks):
            raise ValueError(f"global_blocks {list(global_blocks)} must lie in 0..{depth - 1} (depth {depth})")
        self.embed_dim, self.depth, self.num_heads = embed_dim, depth, num_heads
        self.patch_size, self.grid_size, self.window_size = patch_size, grid_size, window_size
        self.abs_pos, self.checkpoint_every = abs_pos, checkpoint_every
        self.rope_reference = (rope_reference or grid_size) if rope == "rescaled" else None
        self.use_cls_token, self.layer_scale = use_cls_token, layer_scale

        self.conv1 = nn.Conv2d(3, embed_dim, patch_size, patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(embed_dim)) if use_cls_token else None
        self.positional_embedding = nn.Parameter(torch.empty(grid_size**2 + use_cls_token, embed_dim))
        self.ln_pre = nn.LayerNorm(embed_dim, eps=1e-5)
        rates = torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        windowed = [bool(window_size) and i not in set(global_blocks) for i in range(depth)]
        self.transformer = Transformer(
            Block(embed_dim, num_heads, mlp_dim, layer_scale, rate, window, not mask_padding)
            for rate, window in zip(rates, windowed)
        )
        self.ln_post = nn.LayerNorm(embed_dim, eps=1e-5) if use_ln_post else nn.Identity()
        self.attn_pool = AttentionPool(embed_dim, mlp_dim) if pool else None
        self.proj = nn.Parameter(torch.empty(embed_dim, output_dim)) if output_dim else None
        self._geometries: dict[tuple[int, int, torch.device], Geometry] = {}
        self._kept: dict[int, Tensor | None] = {}
        self._init_projections()

    def _init_projections(self) -> None:
        """Linear layers, embeddings and tables: what the constructors of the parts leave to the tower."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for parameter in (self.class_embedding, self.positional_embedding, self.proj, self.conv1.weight):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        for module in self.modules():
            if isinstance(module, Attention):
                nn.init.trunc_normal_(module.in_proj_weight, std=0.02)
                nn.init.zeros_(module.in_proj_bias)
            elif isinstance(module, LayerScale) and self.layer_scale is not None:
                nn.init.constant_(module.gamma, self.layer_scale)
            elif isinstance(module, AttentionPool):
                nn.init.normal_(module.probe, std=self.embed_dim**-0.5)
                nn.init.xavier_uniform_(module.attn.in_proj_weight)
                nn.init.zeros_(module.attn.in_proj_bias)
        self._init_projections()

    @property
    def blocks(self) -> list[Block]:
        """The transformer blocks, first to last."""
        return cast(list[Block], list(self.transformer.resblocks))

    def forward(self, images: Tensor) -> Tensor:
        """The tower's own output.

        Args:
            images: B x 3 x H x W, normalised; H and W multiples of the patch size.

        Returns:
            With pooling B x output_dim (or B x C), else all tokens, B x N x C.
        """
        tokens = self.forward_features(images)
        if self.attn_pool is not None:
            tokens = self.attn_pool(tokens)
        return tokens if self.proj is None else tokens @ self.proj

    def forward_features(self, images: Tensor, norm: bool = True) -> Tensor:
        """All tokens of the last block: B x N x C, the class token first if there is one, then row by row."""
        [(grid, cls)] = self._run(images, [self.depth - 1], norm)
        tokens = grid.flatten(1, 2)
        return tokens if cls is None else torch.cat([cls[:, None], tokens], dim=1)

    def forward_intermediates(
        self, images: Tensor, indices: Sequence[int], norm: bool = False, stop_early: bool = True
    ) -> list[Tensor]:
        """Feature maps of chosen blocks (timm's name and meaning).

        Args:
            images: B x 3 x H x W, normalised; H and W multiples of the patch size.
            indices: 0-based blocks in any order; negative ones count from the last.
            norm: apply the tower's final norm (Core towers have one) to every map.
            stop_early: do not run the blocks after the last requested one.

        Returns:
            One B x C x (H / patch) x (W / patch) map per index, class token left out.

        Raises:
            ValueError: for a size the patch does not divide, or a block the tower does not have.
        """
        return [grid.permute(0, 3, 1, 2) for grid, _ in self._run(images, indices, norm, stop_early)]

    def forward_intermediates_with_cls(
        self, images: Tensor, indices: Sequence[int], norm: bool = False
    ) -> list[tuple[Tensor, Tensor | None]]:
        """As :meth:`forward_intermediates`, each map with its class token (B x C, ``None`` without one)."""
        return [(grid.permute(0, 3, 1, 2), cls) for grid, cls in self._run(images, indices, norm)]

    @contextmanager
    def keeping(self, index: int) -> Iterator[Callable[[], Tensor]]:
        """While open, whatever runs the tower leaves the map of one more block behind, without running it again.

        Args:
            index: 0-based block; negative ones count from the last.

        Yields:
            A function that gives the B x C x (H / patch) x (W / patch) map, without the final norm, of the last batch.
        """
        block = self._block_index(index)
        self._kept = {block: None}

        def last() -> Tensor:
            kept = self._kept.get(block)
            if kept is None:
                raise RuntimeError("the encoder has seen no image yet")
            return kept

        try:
            yield last
        finally:
            self._kept = {}

    def _run(
        self, images: Tensor, indices: Sequence[int], norm: bool, stop_early: bool = True
    ) -> list[tuple[Tensor, Tensor | None]]:
        """B x h x w x C map and class token after each requested block."""
        wanted = [self._block_index(i) for i in indices]
        last = max([*wanted, *self._kept], default=-1)
        x = self.conv1(self._checked(images)).permute(0, 2, 3, 1)
        height, width = int(x.shape[1]), int(x.shape[2])
        geometry = self._geometry(height, width, x.device)
        x = self._embed(x, geometry.order)
        windows = 1 if geometry.order is None else geometry.order.rows * geometry.order.columns
        found: dict[int, tuple[Tensor, Tensor | None]] = {}
        for i, block in enumerate(self.blocks):
            args = (geometry.window_rope, geometry.valid, windows) if block.window else (geometry.rope, None, 1)
            if not block.window and geometry.valid is not None:
                args = (geometry.rope, geometry.valid.view(1, -1), 1)
            if self.checkpoint_every and i % self.checkpoint_every == 0 and torch.is_grad_enabled():
                x = checkpoint(block, x, *args, use_reentrant=False)
            else:
                x = block(x, *args)
            if i in wanted:
                found[i] = self._unpack(self.ln_post(x) if norm else x, height, width, geometry.order)
            if i in self._kept:
                self._kept[i] = self._unpack(x, height, width, geometry.order)[0].permute(0, 3, 1, 2)
            if stop_early and i == last:
                break
        return [found[i] for i in wanted]

    def _embed(self, patches: Tensor, order: WindowOrder | None) -> Tensor:
        """B x h x w x C patches to normalised tokens B x N x C in the order the blocks use."""
        height, width = patches.shape[1:3]
        if self.class_embedding is None:
            x = self.ln_pre(patches + self._positions(height, width))
            return x.flatten(1, 2) if order is None else order.to_windows(x)
        cls = self.class_embedding + self.positional_embedding[0]
        x = (patches + self._positions(height, width)).flatten(1, 2)
        return self.ln_pre(torch.cat([cls.expand(len(x), 1, -1), x], dim=1))

    def _unpack(self, x: Tensor, height: int, width: int, order: WindowOrder | None) -> tuple[Tensor, Tensor | None]:
        """Tokens to a B x h x w x C map and the class token."""
        cls = x[:, 0] if self.use_cls_token else None
        if order is not None:
            return order.to_grid(x), cls
        return x[:, int(self.use_cls_token) :].unflatten(1, (height, width)), cls

    def _positions(self, height: int, width: int) -> Tensor:
        """The position table fitted to the grid: height x width x C."""
        side = self.grid_size
        table = self.positional_embedding[int(self.use_cls_token) :].view(side, side, -1)
        if (height, width) == (side, side):
            return table
        if self.abs_pos == "tile":
            repeats = (-(-height // side), -(-width // side), 1)
            return table.repeat(repeats)[:height, :width]
        table = table.permute(2, 0, 1)[None]
        table = F.interpolate(table, (height, width), mode=self.abs_pos, align_corners=False)
        return table[0].permute(1, 2, 0)

    def _geometry(self, height: int, width: int, device: torch.device) -> Geometry:
        """Order, rotations and padding of a grid, kept for the grids seen last."""
        head_dim = self.embed_dim // self.num_heads
        args = (height, width, head_dim, self.window_size, self.rope_reference, self.use_cls_token, device)
        if torch.compiler.is_compiling():
            return make_geometry(*args)
        key = (height, width, device)
        if key not in self._geometries:
            if len(self._geometries) >= _CACHED_GRIDS:
                self._geometries.pop(next(iter(self._geometries)))
            with torch.inference_mode(False), torch.no_grad():
                self._geometries[key] = make_geometry(*args)
        return self._geometries[key]

    def _block_index(self, index: int) -> int:
        if not -self.depth <= index < self.depth:
            raise ValueError(f"block {index} asked for, but the encoder has blocks 0..{self.depth - 1} (or negative)")
        return index % self.depth

    def _checked(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"image of {height} x {width} pixels: both sides must be multiples of the patch size "
                f"{self.patch_size}; pad or resize it"
            )
        return images

    def shard_units(self) -> list[Block]:
        """What a sharded training gathers one at a time."""
        return self.blocks

    def layer_id(self, name: str) -> int:
        """Depth of a parameter for layer-wise learning-rate decay: 0 for the embedding, i + 1 for block i, else
        depth + 1."""
        if name.split(".")[0] in {"positional_embedding", "class_embedding", "conv1", "ln_pre"}:
            return 0
        if name.startswith("transformer.resblocks."):
            return int(name.split(".")[2]) + 1
        return self.depth + 1

    def no_weight_decay(self) -> set[str]:
        """Parameters that are positions or tokens rather than weights."""
        return {"positional_embedding", "class_embedding", "attn_pool.probe"}

    def freeze(self, trainable_blocks: int = 0) -> None:
        """Stop training all but the last ``trainable_blocks`` blocks; stochastic depth is off in frozen ones.

        Raises:
            ValueError: if there are not that many blocks.
        """
        if not 0 <= trainable_blocks <= self.depth:
            raise ValueError(f"trainable_blocks {trainable_blocks} must lie in 0..{self.depth}, the encoder's depth")
        self.requires_grad_(False)
        for i, block in enumerate(self.blocks):
            if i >= self.depth - trainable_blocks:
                block.requires_grad_(True)
            else:
                block.drop_path.rate = 0.0
