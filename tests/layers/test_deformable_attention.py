import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pe_dense.layers import deformable_attention as module
from pe_dense.layers.deformable_attention import DeformableAttention, deformable_attention

SHAPES = [(12, 10), (6, 5), (3, 3), (1, 1)]


def by_grid_sample(value, shapes, locations, weights):
    """The same by ``grid_sample``, level by level."""
    batch, _, heads, dim = value.shape
    total = 0
    for level, part in enumerate(value.split([h * w for h, w in shapes], dim=1)):
        maps = part.permute(0, 2, 3, 1).reshape(batch * heads, dim, *shapes[level])
        grid = 2 * locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        found = F.grid_sample(maps, grid, align_corners=False)
        total = total + (found * weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
    return total.view(batch, heads * dim, -1).transpose(1, 2)


def inputs(queries=23, heads=4, dim=8, points=3, seed=0, dtype=torch.float32):
    """Some positions lie far outside, some on the centres of cells; the cells' values have a scale of one."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(2, sum(h * w for h, w in SHAPES), heads, dim, generator=generator).to(dtype)
    locations = torch.rand(2, queries, heads, len(SHAPES), points, 2, generator=generator) * 1.6 - 0.3
    locations[:, 0] = -7.0
    locations[:, 1] = 9.0
    weights = torch.rand(2, queries, heads, len(SHAPES) * points, generator=generator).softmax(-1)
    return value, locations, weights.view(2, queries, heads, len(SHAPES), points)


def with_gradients(function, value, locations, weights, shapes=SHAPES):
    """Result and gradients of a function of it; the gradient by location is per cell."""
    leaves = [t.clone().requires_grad_() for t in (value, locations, weights)]
    out = function(leaves[0], shapes, *leaves[1:])
    grads = torch.autograd.grad(out.float().sin().sum(), leaves)
    sizes = torch.tensor([[w, h] for h, w in shapes])[:, None]
    return [out.detach(), grads[0], grads[1] / sizes, grads[2]]


def test_reference(fixtures):
    with np.load(fixtures / "pe" / "ops_d1.npz") as file:
        value, locations, weights, out = (torch.from_numpy(file[f"msda.{k}"]) for k in ("value", "loc", "w", "out"))
        shapes = [tuple(row) for row in file["msda.shapes"].tolist()]
    torch.testing.assert_close(deformable_attention(value, shapes, locations, weights), out, atol=1e-5, rtol=0)


@pytest.mark.parametrize("points", [1 << 30, 200])
def test_values_and_gradients(monkeypatch, points):
    """In one piece and in many."""
    monkeypatch.setattr(module, "_FORWARD_POINTS", points)
    monkeypatch.setattr(module, "_BACKWARD_POINTS", points)
    expected = with_gradients(by_grid_sample, *inputs())
    for ours, theirs in zip(with_gradients(deformable_attention, *inputs()), expected):
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("traced", [False, True])
def test_positions_on_centres(traced):
    """Where the slope jumps, as it does at the first offsets of all, it is ``grid_sample``'s: that behind the cell."""
    shapes = [(4, 2), (2, 4), (1, 2), (2, 1), (1, 1)]  # powers of two: no position is rounded
    at = torch.arange(9) / 8
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1).view(1, -1, 1, 1, 1, 2)
    locations = grid.expand(-1, -1, 2, len(shapes), 1, -1).contiguous()
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(1, sum(h * w for h, w in shapes), 2, 8, generator=generator)
    weights = torch.rand(locations.shape[:-1], generator=generator)
    function = deformable_attention
    if traced:
        function = torch.compile(function, backend="aot_eager", fullgraph=True)
    expected = with_gradients(by_grid_sample, value, locations, weights, shapes)
    for ours, theirs in zip(with_gradients(function, value, locations, weights, shapes), expected):
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_no_gradient_of_the_values():
    value, locations, weights = inputs()
    out = deformable_attention(value, SHAPES, locations.requires_grad_(), weights)
    out.sum().backward()
    assert locations.grad.abs().sum() > 0


def test_a_position_that_is_no_number_stays_visible():
    value, locations, weights = inputs()
    locations[0, 3, 0, 0, 0, 0] = float("nan")
    out = deformable_attention(value, SHAPES, locations, weights)
    assert out[0, 3, :8].isnan().all()
    assert out.isnan().sum() == 8


def test_half_precision_values():
    value, locations, weights = inputs(dtype=torch.bfloat16)
    out, grad, *_ = with_gradients(deformable_attention, value, locations, weights)
    assert out.dtype == grad.dtype == torch.bfloat16
    expected = deformable_attention(value.float(), SHAPES, locations, weights)
    torch.testing.assert_close(out.float(), expected, atol=0.01, rtol=0.01)


def test_sizes_must_fit():
    value, locations, weights = inputs()
    with pytest.raises(ValueError, match="160 cells in all"):
        deformable_attention(value[:, 1:], SHAPES, locations, weights)
    with pytest.raises(ValueError, match="weights of B x Q x 4 x 4 x P"):
        deformable_attention(value, SHAPES, locations, weights[..., :1, :])


@pytest.fixture(scope="module")
def layer():
    torch.manual_seed(0)
    layer = DeformableAttention(32, num_heads=4, num_levels=len(SHAPES), num_points=2)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return layer


@pytest.fixture(scope="module")
def call():
    torch.manual_seed(1)
    return torch.randn(2, 5, 32), torch.rand(2, 5, len(SHAPES), 4), torch.randn(2, 160, 32), SHAPES


def test_module_traces(layer, call):
    expected = layer(*call)
    grads = torch.autograd.grad(expected.sum(), list(layer.parameters()))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)(*call)
    torch.testing.assert_close(compiled, expected, atol=1e-5, rtol=0)
    again = torch.autograd.grad(compiled.sum(), list(layer.parameters()))
    for ours, theirs in zip(again, grads):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    exported = torch.export.export(layer, call).module()
    torch.testing.assert_close(exported(*call), expected, atol=1e-5, rtol=0)


def test_module_under_autocast(layer, call):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(*call)
    assert out.dtype == torch.bfloat16
    expected = layer(*call)
    torch.testing.assert_close(out.float(), expected, atol=0.1, rtol=0.1)
    grads, wanted = (torch.autograd.grad(o.float().sum(), list(layer.parameters())) for o in (out, expected))
    for ours, theirs in zip(grads, wanted):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, atol=0.05 * float(theirs.abs().max()), rtol=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)(*call)
    torch.testing.assert_close(compiled, out, atol=0.02, rtol=0.02)


def test_module_exports_under_autocast(layer, call):
    """The exported program computes what the module does: its casts are part of it."""
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = layer(*call)
        exported = torch.export.export(layer, call).module()
        assert exported(*call).dtype == torch.bfloat16
        torch.testing.assert_close(exported(*call), expected, atol=0.02, rtol=0.02)
    assert not torch.equal(expected.float(), layer(*call))


def test_a_level_of_padding_only(layer, call):
    """Its values and gradients are numbers, and what lies there does not matter."""
    query, reference, value, shapes = call
    start = shapes[0][0] * shapes[0][1]
    padding = torch.zeros(2, 160, dtype=torch.bool)
    padding[:, start : start + shapes[1][0] * shapes[1][1]] = True
    cells = value.clone().requires_grad_()
    out = layer(query, reference, cells, shapes, padding)
    [grad] = torch.autograd.grad(out.sum(), cells)
    assert out.isfinite().all()
    assert grad.isfinite().all()
    assert grad[padding].abs().sum() == 0
    assert grad[~padding].abs().sum() > 0


def test_initial_offsets():
    layer = DeformableAttention(32, num_heads=8, num_levels=2, num_points=3)
    offsets = layer.sampling_offsets.bias.view(8, 2, 3, 2)
    torch.testing.assert_close(offsets.abs().amax(-1), torch.tensor([1.0, 2, 3]).expand(8, 2, -1))
    torch.testing.assert_close(offsets[1, 0, 0], torch.tensor([1.0, 1.0]))
    with pytest.raises(ValueError, match="not divisible by num_heads 5"):
        DeformableAttention(32, num_heads=5)


def test_padding_counts_as_zero(layer, call):
    query, reference, value, shapes = call
    padding = torch.zeros(2, 160, dtype=torch.bool)
    padding[0, :120] = True
    out = layer(query, reference, value, shapes, padding)
    changed = value.clone()
    changed[0, :120] = 5.0
    torch.testing.assert_close(layer(query, reference, changed, shapes, padding), out)
    assert not torch.allclose(layer(query, reference, value, shapes), out)


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.skipif(not (INTERPRETED or torch.cuda.is_available()), reason="no GPU; see the test of the interpreter")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_triton_kernels(dtype, tolerance):
    """Five channels do not fill a block, and neither do seven queries."""
    from pe_dense.layers.deformable_attention_triton import attend

    device = "cpu" if INTERPRETED else "cuda"
    given = inputs(queries=7, heads=2, dim=5, points=2, dtype=dtype)
    expected = with_gradients(by_grid_sample, *(t.float() for t in given))
    found = with_gradients(attend, *(t.to(device) for t in given))
    assert found[0].dtype == found[1].dtype == dtype
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours.float().cpu(), theirs, atol=tolerance, rtol=0)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_kernels_in_the_interpreter():
    """In a process of its own: Triton reads the variable when it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "test_triton_kernels and dtype"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([*command, __file__], env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
