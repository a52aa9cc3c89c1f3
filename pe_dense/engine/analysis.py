"""Where a model's parameters, multiply-adds and activations are."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from math import prod
from typing import Any

import torch
import torchvision
from fvcore.nn.jit_analysis import JitModelAnalysis
from fvcore.nn.jit_handles import (
    addmm_flop_jit,
    bmm_flop_jit,
    conv_flop_jit,
    einsum_flop_jit,
    get_shape,
    linear_flop_jit,
    matmul_flop_jit,
)
from torch import Tensor, nn

Handle = Callable[[list[Any], list[Any]], "Counter[str]"]

_TAPS = 4  # a bilinear sample is four multiply-adds
_SAMPLES_PER_BIN = 4  # of RoIAlign with as many samples as cells: 2 x 2 for a box of the canonical size of its level
# work on every element once, selection, or another view of the same data: no multiply-adds to speak of
_UNCOUNTED = (
    "add", "sub", "rsub", "mul", "div", "floor_divide", "remainder", "neg", "abs", "exp", "log", "log2", "pow",
    "sqrt", "rsqrt", "sin", "cos", "tanh", "erf", "floor", "ceil", "gelu", "relu", "silu", "sigmoid", "softmax",
    "log_softmax", "dropout", "clamp", "clamp_min", "clamp_max", "minimum", "maximum", "where", "masked_fill",
    "layer_norm", "group_norm", "batch_norm", "instance_norm", "adaptive_avg_pool2d", "avg_pool2d", "max_pool2d",
    "upsample_nearest2d", "sum", "mean", "prod", "var", "max", "min", "cumsum", "all", "any", "eq", "ne", "lt",
    "gt", "le", "ge", "isfinite", "nan_to_num", "bitwise_and", "bitwise_or", "bitwise_not", "logical_and",
    "logical_or", "logical_not", "__and__", "__or__", "sort", "argsort", "topk", "nonzero", "nonzero_numpy",
    "unique", "index", "index_copy", "index_put", "index_select", "gather", "scatter", "one_hot", "fill", "copy",
    "repeat", "repeat_interleave", "tile", "pad", "constant_pad_nd", "roll", "meshgrid", "view_as", "unflatten",
    "view_as_complex", "view_as_real",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One module of a model, its own children included.

    Attributes:
        name: dotted path; "" is the whole model.
        parameters: number of weights, a shared one counted once.
        trainable: those of them that require gradients.
        macs: multiply-adds of one forward pass; a multiply-add is two floating-point operations.
        activations: numbers that its convolutions, matrix products and attention give out.
    """

    name: str
    parameters: int
    trainable: int
    macs: int
    activations: int

    @property
    def depth(self) -> int:
        """0 for the whole model, 1 for its children and so on."""
        return len(self.name.split(".")) if self.name else 0

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiply-add counts as two."""
        return 2 * self.macs


@dataclass(frozen=True)
class Analysis:
    """Result of :func:`analyze`.

    Attributes:
        parts: the model and its modules down to the asked depth, in the model's order.
        uncounted: operators that were met and have no rule, with the number of calls.
        outputs: what the model returned.
    """

    parts: list[Part]
    uncounted: dict[str, int]
    outputs: Any


def analyze(model: nn.Module, sample: Any, depth: int = 2) -> Analysis:
    """Trace one forward pass in evaluation mode and count, with fvcore.

    Multiply-adds are those of convolutions, matrix products, attention (two products: queries with keys, weights with
    values) and bilinear sampling (RoIAlign, ``grid_sample``, resizing). Work that touches each element once (norms,
    activations, RoPE's rotation) and selection (NMS, top-k) are not counted.

    Args:
        model: any module; its mode is restored afterwards.
        sample: what its ``forward`` takes: a tensor, or a batch as the model gets it from a loader (a list of dicts).
        depth: how many levels of modules to list.

    Returns:
        The parts, and what could not be counted. A detector's later stages depend on what it finds in ``sample``.
    """
    tensors: list[Tensor] = list(tensors_in(sample))
    traced = _Traceable(model, sample)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _suppression_by_group(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of scripting, inside torchvision
            counter = _counter(traced, tuple(tensors))
            counts = counter.by_module_and_operator()
            uncounted = counter.unsupported_ops()
    finally:
        model.train(was_training)
    parts = []
    for part in parameters_by_part(model, depth):
        found = counts[counter.canonical_module_name(f"model.{part.name}" if part.name else "model")]
        parts.append(replace(part, macs=int(found["macs"]), activations=int(found["activations"])))
    return Analysis(parts, dict(uncounted.most_common()), traced.outputs)


def parameters_by_part(model: nn.Module, depth: int = 2) -> list[Part]:
    """The model and its modules down to ``depth`` levels, with parameters counted and nothing else."""
    parts = []
    for name, module in model.named_modules():
        if name.count(".") < depth or not name:
            weights = list(module.parameters())
            trainable = sum(p.numel() for p in weights if p.requires_grad)
            parts.append(Part(name, sum(p.numel() for p in weights), trainable, macs=0, activations=0))
    return parts


class _Traceable(nn.Module):
    """Tensors in, tensors out: what the tracer can follow."""

    def __init__(self, model: nn.Module, sample: Any) -> None:
        super().__init__()
        self.model = model
        self.sample = sample
        self.outputs: Any = None

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self.outputs = self.model(_with_tensors(self.sample, iter(tensors)))
        return tuple(tensors_in(self.outputs))


@contextmanager
def _suppression_by_group() -> Iterator[None]:
    """In a trace torchvision's ``batched_nms`` suppresses the boxes of all groups together, which takes the square of
    their number: of 1,203 classes it would take hours. Group by group it finds the same."""
    is_tracing = torchvision._is_tracing
    torchvision._is_tracing = lambda: False
    try:
        yield
    finally:
        torchvision._is_tracing = is_tracing


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested containers and data classes."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))


def _with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same dicts, lists and tuples with other tensors in them, in the order of :func:`tensors_in`."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, Mapping):
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_with_tensors(item, tensors) for item in value])
    return value


def _counter(model: nn.Module, inputs: tuple[Tensor, ...]) -> JitModelAnalysis:
    counter = JitModelAnalysis(model, inputs).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    products = {
        "aten::addmm": addmm_flop_jit,
        "aten::bmm": bmm_flop_jit,
        "aten::_convolution": conv_flop_jit,
        "aten::einsum": einsum_flop_jit,
        "aten::matmul": matmul_flop_jit,
        "aten::mm": matmul_flop_jit,
        "aten::linear": linear_flop_jit,
        "aten::scaled_dot_product_attention": _attention_macs,
    }
    for name, macs in products.items():
        counter.set_op_handle(name, _product(macs))
    for name in ("grid_sampler", "grid_sampler_2d", "upsample_bilinear2d", "upsample_bicubic2d"):
        counter.set_op_handle(f"aten::{name}", _sampling(_TAPS if "bicubic" not in name else _TAPS**2))
    counter.set_op_handle("torchvision::roi_align", _roi_align)
    counter.set_op_handle("torchvision::nms", None)
    counter.set_op_handle("prim::CallFunction", None)  # torchvision scripts its batched NMS when it is traced
    for name in _UNCOUNTED:
        counter.set_op_handle(f"aten::{name}", None)
        counter.set_op_handle(f"aten::{name}_", None)
    return counter


def _product(macs: Callable[[list[Any], list[Any]], Any]) -> Handle:
    """Multiply-adds by fvcore's rule (which calls them flops), activations from the output's shape."""

    def handle(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        counted = macs(inputs, outputs)
        total = sum(counted.values()) if isinstance(counted, Counter) else counted
        return Counter(macs=int(total), activations=_numel(outputs[0]))

    return handle


def _sampling(macs_per_output: int) -> Handle:
    return lambda inputs, outputs: Counter(macs=macs_per_output * _numel(outputs[0]))


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Queries B x H x L x E with keys B x H x S x E, then L x S weights with values B x H x S x V."""
    query, key, value = (get_shape(i) for i in inputs[:3])
    assert query is not None
    assert key is not None
    assert value is not None
    return int(prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


def _roi_align(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    ratio = inputs[5].toIValue()
    samples = ratio * ratio if ratio is not None and ratio > 0 else _SAMPLES_PER_BIN
    return Counter(macs=samples * _TAPS * _numel(outputs[0]))


def _numel(value: Any) -> int:
    shape = get_shape(value)
    if shape is None:
        raise ValueError(f"the tracer does not know the shape of {value.debugName()}; analyze the model on the CPU")
    return int(prod(shape))
