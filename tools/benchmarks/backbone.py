"""Speed of the encoder against timm, against per-block window partition, and against the machine's peak."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from benchmarks.timing import Row, interleaved, ratio_row
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pe_dense.layers.rope import rope_table
from pe_dense.modeling.backbone import PerceptionEncoder, pe_spatial_b16_512, pe_spatial_t16_512
from pe_dense.modeling.backbone.weights import to_timm

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GLOBAL_BLOCKS = (2, 5, 8, 11)
COMMON = ("aten::mm", "aten::addmm", "scaled_dot_product", "convolution")


def synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class TimmMap(nn.Module):
    """timm's model as a feature extractor of its last block."""

    def __init__(self, name: str, state: dict[str, Tensor]) -> None:
        super().__init__()
        import timm

        self.model = timm.create_model(name)
        self.model.load_state_dict(to_timm(state))

    def forward(self, images: Tensor) -> Tensor:
        return self.model.forward_intermediates(images, indices=[11], intermediates_only=True)[0]


class OurMap(nn.Module):
    """Our encoder as a feature extractor of its last block."""

    def __init__(self, encoder: PerceptionEncoder) -> None:
        super().__init__()
        self.model = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.model.forward_intermediates(images, [-1])[0]


class PartitionEachBlock(nn.Module):
    """The same weights, tokens kept row by row, cut into windows and joined again in every windowed block."""

    def __init__(self, encoder: PerceptionEncoder) -> None:
        super().__init__()
        self.model = encoder
        head_dim, side = encoder.embed_dim // encoder.num_heads, encoder.window_size
        grid = 1024 // encoder.patch_size
        self.register_buffer("window_rope", rope_table(side, side, head_dim), persistent=False)
        self.register_buffer("rope", rope_table(grid, grid, head_dim), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        encoder, side = self.model, self.model.window_size
        x = encoder.conv1(images).permute(0, 2, 3, 1)
        batch, height, width, dim = x.shape
        x = encoder.ln_pre(x + encoder._positions(height, width))
        for block in encoder.blocks:
            y = block.ln_1(x)
            if block.window:
                y = y.view(batch, height // side, side, width // side, side, dim).transpose(2, 3)
                y = block.attn(y.reshape(-1, side * side, dim), self.window_rope)
                y = y.view(batch, height // side, width // side, side, side, dim).transpose(2, 3)
                y = y.reshape(batch, height, width, dim)
            else:
                y = block.attn(y.reshape(batch, height * width, dim), self.rope).view(x.shape)
            x = x + block.drop_path(block.ls_1(y))
            x = x + block.drop_path(block.ls_2(block.mlp(block.ln_2(x))))
        return x.permute(0, 3, 1, 2)


def forward(model: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        model(images)
    synchronize()


def forward_backward(model: nn.Module, images: Tensor) -> None:
    model(images).mean().backward()
    for parameter in model.parameters():
        parameter.grad = None
    synchronize()


def common_share(run: Callable[[], None]) -> float:
    """Share of a call's CPU time in matrix products, attention and convolution: kernels that both sides call alike."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        run()
    events = recorded.key_averages()
    spent = {e.key: e.self_cpu_time_total for e in events}
    common = sum(time for name, time in spent.items() if any(part in name for part in COMMON))
    return common / sum(spent.values())


def against_timm(quick: bool) -> Iterator[Row]:
    build, name = (
        (pe_spatial_t16_512, "vit_pe_spatial_tiny_patch16_512")
        if quick
        else (pe_spatial_b16_512, "vit_pe_spatial_base_patch16_512")
    )
    encoder = build()
    ours, theirs = OurMap(encoder).to(DEVICE), TimmMap(name, encoder.state_dict()).to(DEVICE)
    images = torch.randn(1, 3, 512, 512, device=DEVICE)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-4, rtol=1e-4)
    for mode in ("eager", "compiled"):
        a, b = (m if mode == "eager" else torch.compile(m) for m in (ours, theirs))
        for what, run in (("forward", forward), ("forward+backward", forward_backward)):
            seconds = interleaved(
                {"ours": lambda: run(a, images), "timm": lambda: run(b, images)},  # noqa: B023  # called in this turn
                repeats=3 if quick else 9,
            )
            title, note = f"{build.__name__} 512 px {what}, {mode}", ""
            if mode == "eager" and DEVICE == "cpu":
                share = common_share(lambda: run(b, images))  # noqa: B023
                note = f"{share:.0%} of timm's time is in kernels common to both: at most {1 / share:.2f}"
            yield ratio_row(title, "timm", seconds["ours"], seconds["timm"], target=1.05, note=note)


def against_partition(quick: bool) -> Iterator[Row]:
    build = pe_spatial_t16_512 if quick else pe_spatial_b16_512
    encoder = build(use_cls_token=False, window_size=32, global_blocks=GLOBAL_BLOCKS).to(DEVICE)
    ours, theirs = OurMap(encoder), PartitionEachBlock(copy.deepcopy(encoder)).to(DEVICE)
    images = torch.randn(1, 3, 1024, 1024, device=DEVICE)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-4, rtol=1e-4)
    seconds = interleaved(
        {"ours": lambda: forward_backward(ours, images), "theirs": lambda: forward_backward(theirs, images)},
        repeats=2 if quick else 5,
    )
    title = f"{build.__name__} 1024 px, window 32, 4 global blocks, forward+backward"
    yield ratio_row(title, "partition in each block", seconds["ours"], seconds["theirs"], target=1.03)
    yield achieved_flops(encoder, images, 2 if quick else 5)


def achieved_flops(encoder: PerceptionEncoder, images: Tensor, repeats: int) -> Row:
    """Share of the speed of one large matrix product that the forward pass reaches."""
    tokens, dim = (1024 // encoder.patch_size) ** 2, encoder.embed_dim
    mlp_dim = encoder.blocks[0].mlp.c_fc.out_features
    dense = 2 * tokens * (4 * dim * dim + 2 * dim * mlp_dim) * encoder.depth
    seen = [encoder.window_size**2 if b.window else tokens for b in encoder.blocks]
    flops = dense + sum(4 * tokens * n * dim for n in seen) + 2 * tokens * dim * 3 * encoder.patch_size**2
    side = 3072
    a, b = torch.randn(2, side, side, device=DEVICE)
    model = OurMap(encoder)
    seconds = interleaved(
        {"forward": lambda: forward(model, images), "product": lambda: (F.linear(a, b), synchronize())}, repeats
    )
    ours, peak = flops / seconds["forward"] / 1e9, 2 * side**3 / seconds["product"] / 1e9
    return {
        "what": "achieved GFLOP/s of that forward",
        "against": f"{side} x {side} matrix product",
        "ours": ours,
        "theirs": peak,
        "unit": "GFLOP/s",
        "ratio": ours / peak,
        "target": 0.75,
        "note": f"{flops / 1e9:.0f} GFLOP",
    }


def run(quick: bool) -> Iterator[Row]:
    """All rows; ``quick`` takes PE-Spatial T instead of B and fewer repeats."""
    yield from against_timm(quick)
    yield from against_partition(quick)
