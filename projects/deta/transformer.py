"""Encoder and decoder layers with deformable attention (Deformable DETR, arXiv 2010.04159); norms come after."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pe_dense.layers.deformable_attention import DeformableAttention
from projects.deta.levels import Levels, sine_embedding


class EncoderLayer(nn.Module):
    """Every cell attends to all maps around its own place.

    Args:
        dim: C.
        feedforward_dim: hidden channels of the MLP.
        num_heads, num_levels, num_points: see :class:`DeformableAttention`.
    """

    def __init__(self, dim: int, feedforward_dim: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, num_heads, num_levels, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, shapes: list[tuple[int, int]], padding: Tensor
    ) -> Tensor:
        """B x S x C to the same; ``position`` of the same shape is added to the queries."""
        x = self.norm1(x + self.self_attn(x + position, reference, x, shapes, padding))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class DecoderLayer(nn.Module):
    """Queries attend to each other, then to the maps within their boxes.

    Args:
        dim, feedforward_dim, num_heads, num_levels, num_points: see :class:`EncoderLayer`.
    """

    def __init__(self, dim: int, feedforward_dim: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.cross_attn = DeformableAttention(dim, num_heads, num_levels, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: list[tuple[int, int]],
        padding: Tensor,
        blocked: Tensor | None = None,
        unused: Tensor | None = None,
    ) -> Tensor:
        """B x Q x C to the same.

        Args:
            x: what the queries hold.
            position: B x Q x C, added to queries and keys.
            reference: B x Q x L x 4 boxes in fractions of each map.
            memory: B x S x C.
            shapes: (height, width) of each map.
            padding: B x S bool.
            blocked: Q x Q bool, True where a query (row) must not see another.
            unused: B x Q bool, True for queries that none may see.
        """
        query = x + position
        seen = self.self_attn(query, query, x, key_padding_mask=unused, need_weights=False, attn_mask=blocked)[0]
        x = self.norm2(x + seen)
        x = self.norm1(x + self.cross_attn(x + position, reference, memory, shapes, padding))
        return self.norm3(x + self.linear2(F.relu(self.linear1(x))))


class Stack(nn.Module):
    """Holds layers under their released names."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class Transformer(nn.Module):
    """The layers, and what turns proposals into queries; parameter names are those of the released file.

    Args:
        dim: C, divisible by 4 and by ``num_heads``.
        num_heads: of every attention.
        num_encoder_layers, num_decoder_layers: how many.
        feedforward_dim: hidden channels of the MLPs.
        num_levels: L, maps.
        num_points: positions per head and map.
        checkpoint_layers: recompute the encoder layers' activations in the backward pass.

    Raises:
        ValueError: for a ``dim`` that cannot be divided, and for none of what there must be.
    """

    def __init__(
        self,
        dim: int = 256,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        feedforward_dim: int = 2048,
        num_levels: int = 5,
        num_points: int = 4,
        checkpoint_layers: bool = False,
    ) -> None:
        super().__init__()
        needed = {"num_heads": num_heads, "num_decoder_layers": num_decoder_layers, "num_points": num_points}
        for name, number in needed.items():
            if number < 1:
                raise ValueError(f"{name} {number} must be at least 1")
        if dim % 4:
            raise ValueError(f"hidden_dim {dim} must be divisible by 4: sines and cosines of rows and columns share it")
        self.dim, self.num_levels, self.checkpoint_layers = dim, num_levels, checkpoint_layers
        sizes = (dim, feedforward_dim, num_heads, num_levels, num_points)
        self.level_embed = nn.Parameter(torch.empty(num_levels, dim))
        self.encoder = Stack([EncoderLayer(*sizes) for _ in range(num_encoder_layers)])
        self.decoder = Stack([DecoderLayer(*sizes) for _ in range(num_decoder_layers)])
        self.enc_output, self.enc_output_norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.pos_trans, self.pos_trans_norm = nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim)
        self.pix_trans, self.pix_trans_norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        nn.init.normal_(self.level_embed)
        for name, parameter in self.named_parameters():
            own = name.endswith(("sampling_offsets.weight", "attention_weights.weight", "level_embed"))
            if parameter.ndim > 1 and not own:
                nn.init.xavier_uniform_(parameter)

    def encode(self, x: Tensor, levels: Levels) -> Tensor:
        """B x S x C cells of all maps to the memory, of the same shape; padding cells hold nothing of use."""
        position = levels.position_embedding(self.dim) + self.level_embed[levels.index()]
        reference = levels.centres()[:, :, None] * levels.ratios()[:, None]
        padding = levels.padding()
        for layer in self.encoder.layers:
            args = (x, position, reference, levels.shapes, padding)
            recompute = self.checkpoint_layers and torch.is_grad_enabled()
            x = checkpoint(layer, *args, use_reentrant=False) if recompute else layer(*args)
        return x

    def proposal_features(self, memory: Tensor, valid: Tensor) -> Tensor:
        """What proposals are predicted from: B x S x C, cells without an anchor (``valid``: B x S) as zeros."""
        return self.enc_output_norm(self.enc_output(memory.masked_fill(~valid[..., None], 0.0)))

    def queries(self, boxes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Position and content of the queries, B x Q x C each.

        Args:
            boxes: B x Q x 4 proposals (centre x, y, width, height) in fractions of the image.
            features: B x Q x C of :meth:`proposal_features`.
        """
        sines = sine_embedding(boxes, self.dim // 2).flatten(2)
        position, content = self.pos_trans_norm(self.pos_trans(sines)).split(self.dim, dim=-1)
        return position, content + self.pix_trans_norm(self.pix_trans(features))
