"""The named sizes of the Perception Encoder (arXiv 2504.13181; released configurations)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Concatenate, ParamSpec

from pe_dense.modeling.backbone.vit import AbsPos, PerceptionEncoder, RopePositions
from pe_dense.modeling.backbone.weights import PatchResize, load_encoder_weights
from pe_dense.structures.wording import nearest


@dataclass(frozen=True)
class TowerSize:
    """Numbers that make one released tower; see :class:`PerceptionEncoder` for their meaning."""

    name: str
    patch_size: int
    grid_size: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    use_cls_token: bool = True
    layer_scale: float | None = None
    output_dim: int | None = None

    @property
    def is_core(self) -> bool:
        """Core towers end with a norm, attention pooling and a projection."""
        return self.output_dim is not None

    @property
    def image_size(self) -> int:
        """Native side of the input in pixels."""
        return self.patch_size * self.grid_size


_T = TowerSize("", 16, 24, 192, 12, 3, 768)
_S = TowerSize("", 16, 24, 384, 12, 6, 1536)
_B = TowerSize("", 16, 32, 768, 12, 12, 3072)
_L = TowerSize("", 14, 32, 1024, 24, 16, 4096)
_G = TowerSize("", 14, 32, 1536, 50, 16, 8960, use_cls_token=False)

SIZES: tuple[TowerSize, ...] = (
    replace(_T, name="PE-Core-T16-384", output_dim=512),
    replace(_S, name="PE-Core-S16-384", output_dim=512),
    replace(_B, name="PE-Core-B16-224", grid_size=14, output_dim=1024),
    replace(_L, name="PE-Core-L14-336", grid_size=24, output_dim=1024),
    replace(_G, name="PE-Core-G14-448", output_dim=1280),
    replace(_L, name="PE-Lang-L14-448", depth=23, layer_scale=0.1),
    replace(_L, name="PE-Lang-L14-448-Tiling", depth=23, layer_scale=0.1),
    replace(_G, name="PE-Lang-G14-448", depth=47, layer_scale=0.1),
    replace(_G, name="PE-Lang-G14-448-Tiling", depth=47, layer_scale=0.1),
    replace(_T, name="PE-Spatial-T16-512", grid_size=32),
    replace(_S, name="PE-Spatial-S16-512", grid_size=32),
    replace(_B, name="PE-Spatial-B16-512"),
    replace(_L, name="PE-Spatial-L14-448"),
    replace(_G, name="PE-Spatial-G14-448", layer_scale=0.1),
)


def find_size(name: str) -> TowerSize:
    """The tower of an official name such as ``PE-Spatial-B16-512``; case does not matter.

    Raises:
        ValueError: if there is none; the message has the nearest names.
    """
    names = {size.name.lower(): size for size in SIZES}
    if name.lower() in names:
        return names[name.lower()]
    near = nearest(name, [size.name for size in SIZES], cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(s.name for s in SIZES)}"
    raise ValueError(f"encoder {name} is unknown: {hint}")


P = ParamSpec("P")


def build_tower(
    size: TowerSize,
    *,
    weights: str | None = None,
    patch_size: int | None = None,
    grid_size: int | None = None,
    depth: int | None = None,
    use_cls_token: bool | None = None,
    pool: bool | None = None,
    ln_post: bool | None = None,
    window_size: int = 0,
    global_blocks: Sequence[int] = (),
    abs_pos: AbsPos = "bilinear",
    rope: RopePositions = "index",
    rope_reference: int | None = None,
    drop_path_rate: float = 0.0,
    checkpoint_every: int = 0,
    mask_padding: bool = True,
    patch_resize: PatchResize = "bicubic",
) -> PerceptionEncoder:
    """Build a tower; ``None`` stands for the tower's own value.

    Args:
        size: which tower; the named builders fill it in.
        weights: official name or file, see :func:`load_encoder_weights`; ``None`` starts from random weights.
        patch_size: other than the native one; loaded weights are resized by ``patch_resize``.
        grid_size: side of the position table other than the native one; loaded tables are resized bicubically.
        depth: fewer blocks than the native tower; later ones in the file are left out.
        use_cls_token: ``False`` drops the class token and its position.
        pool: ``False`` leaves the pooling and the projection of a Core tower out.
        ln_post: whether a Core tower keeps its final norm; ``None`` keeps it together with the pooling.
        window_size, global_blocks, abs_pos, rope, rope_reference, drop_path_rate, checkpoint_every, mask_padding:
            see :class:`PerceptionEncoder`.
        patch_resize: ``bicubic`` or ``pinv``.

    Raises:
        ValueError: for sizes that do not fit together.
        WeightsError: for weights that do not fit.
    """
    if depth is not None and depth > size.depth:
        raise ValueError(f"depth {depth}: {size.name} has {size.depth} blocks")
    for option, value in (("pool", pool), ("ln_post", ln_post)):
        if value and not size.is_core:
            raise ValueError(f"{option}=True: only PE-Core towers end with a norm and a pooling, not {size.name}")
    pool = size.is_core if pool is None else pool
    encoder = PerceptionEncoder(
        size.embed_dim,
        depth or size.depth,
        size.num_heads,
        size.mlp_dim,
        patch_size=patch_size or size.patch_size,
        grid_size=grid_size or size.grid_size,
        use_cls_token=size.use_cls_token if use_cls_token is None else use_cls_token,
        layer_scale=size.layer_scale,
        use_ln_post=pool if ln_post is None else ln_post,
        pool=pool,
        output_dim=size.output_dim if pool else None,
        window_size=window_size,
        global_blocks=global_blocks,
        abs_pos=abs_pos,
        rope=rope,
        rope_reference=rope_reference,
        drop_path_rate=drop_path_rate,
        checkpoint_every=checkpoint_every,
        mask_padding=mask_padding,
    )
    if weights is not None:
        load_encoder_weights(
            encoder, weights, patch_resize, allow_deeper=depth is not None, resize_positions=grid_size is not None
        )
    return encoder


def _named(
    build: Callable[Concatenate[TowerSize, P], PerceptionEncoder], size: TowerSize
) -> Callable[P, PerceptionEncoder]:
    """``build`` for one size, as a function with the remaining arguments and a path that a config can name."""

    @functools.wraps(build)
    def tower(*args: P.args, **kwargs: P.kwargs) -> PerceptionEncoder:
        return build(size, *args, **kwargs)

    signature = inspect.signature(build)
    vars(tower)["__signature__"] = signature.replace(parameters=list(signature.parameters.values())[1:])
    tower.__name__ = tower.__qualname__ = size.name.lower().replace("-", "_")
    tower.__doc__ = f"Build {size.name} (native input {size.image_size} px). Arguments: see :func:`build_tower`."
    return tower


_builders = [_named(build_tower, size) for size in SIZES]
pe_core_t16_384, pe_core_s16_384, pe_core_b16_224, pe_core_l14_336, pe_core_g14_448 = _builders[:5]
pe_lang_l14_448, pe_lang_l14_448_tiling, pe_lang_g14_448, pe_lang_g14_448_tiling = _builders[5:9]
pe_spatial_t16_512, pe_spatial_s16_512, pe_spatial_b16_512, pe_spatial_l14_448, pe_spatial_g14_448 = _builders[9:]
