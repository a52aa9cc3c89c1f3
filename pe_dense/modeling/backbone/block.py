"""The transformer block and the attention pooling of the Perception Encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.layers.drop_path import DropPath
from pe_dense.layers.rope import apply_rope


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions; parameter names as in the official files.

    Args:
        dim: C.
        num_heads: number of heads; divides ``dim``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.in_proj_weight, std=0.02)

    def forward(self, x: Tensor, rope: Tensor, mask: Tensor | None = None, windows: int = 1) -> Tensor:
        """Attend within each of ``windows`` equal consecutive runs of tokens.

        Args:
            x: B x N x C.
            rope: (N / windows) x (C / num_heads / 2) x 2.
            mask: bool, broadcastable to (B * windows) x heads x 1 x (N / windows); False keys are left out.
            windows: 1 attends globally.
        """
        batch, tokens, dim = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.view(batch * windows, tokens // windows, 3, self.num_heads, dim // self.num_heads)
        qk, v = qkv.split((2, 1), dim=2)  # one concatenation in the backward pass, slices would be summed up
        q, k = apply_rope(qk, rope).transpose(1, 3).unbind(2)
        out = F.scaled_dot_product_attention(q, k, v.squeeze(2).transpose(1, 2), attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).reshape(batch, tokens, dim))


class LayerNorm(nn.LayerNorm):
    """A norm whose weights may be of another type than its input: sharded training gathers them in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        """... x dim to the same shape and type."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class Mlp(nn.Module):
    """Linear, exact GELU, linear.

    Args:
        dim: input and output channels.
        hidden_dim: channels in between.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, hidden_dim)
        self.c_proj = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """... x dim to the same shape."""
        return self.c_proj(F.gelu(self.c_fc(x)))


class LayerScale(nn.Module):
    """Learned factor per channel (Touvron et al., Going deeper with Image Transformers)."""

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        """... x dim to the same shape."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        dim: C.
        num_heads: attention heads.
        mlp_dim: hidden channels of the MLP.
        layer_scale: initial LayerScale value, ``None`` for none.
        drop_path: probability of dropping each branch.
        window: whether the block attends inside windows.
        zero_padding: zero padded tokens after the first norm instead of masking them (released detectors).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        window: bool = False,
        zero_padding: bool = False,
    ) -> None:
        super().__init__()
        self.window = window
        self.zero_padding = zero_padding
        self.attn = Attention(dim, num_heads)
        self.ls_1 = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.ls_2 = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.ln_1 = LayerNorm(dim, eps=1e-5)
        self.ln_2 = LayerNorm(dim, eps=1e-5)
        self.mlp = Mlp(dim, mlp_dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, rope: Tensor, valid: Tensor | None = None, windows: int = 1) -> Tensor:
        """B x N x C to the same shape.

        Args:
            x: tokens, window-major when there are windows.
            rope: rotation of the tokens a token can see, see :func:`pe_dense.layers.rope.rope_table`.
            valid: (number of windows) x (tokens per window) bool, ``None`` if no token is padding.
            windows: number of windows this block attends in, 1 for a global block.
        """
        y = self.ln_1(x)
        mask = None
        if valid is not None and self.window and self.zero_padding:
            y = y * valid.view(1, -1, 1)
        elif valid is not None:
            mask = valid.view(windows, 1, 1, -1).repeat(x.shape[0], 1, 1, 1)
        x = x + self.drop_path(self.ls_1(self.attn(y, rope, mask, windows)))
        return x + self.drop_path(self.ls_2(self.mlp(self.ln_2(x))))


class AttentionPool(nn.Module):
    """One learned query attends to all tokens; residual MLP on top.

    Args:
        dim: C.
        mlp_dim: hidden channels of the MLP.
        num_heads: attention heads.
    """

    def __init__(self, dim: int, mlp_dim: int, num_heads: int = 8) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        self.attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.layernorm = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = Mlp(dim, mlp_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x N x C to B x C."""
        probe = self.probe.expand(len(tokens), -1, -1)
        x = self.attn(probe, tokens, tokens, need_weights=False)[0]
        return (x + self.mlp(self.layernorm(x)))[:, 0]
