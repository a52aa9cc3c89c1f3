"""Optimiser recipes: which parameters get which learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn


def name_fits(name: str, pattern: str) -> bool:
    """Whether a parameter's name starts with ``pattern``, or fits it as a whole (``*`` and ``?``, as in a shell)."""
    return name.startswith(pattern) or fnmatchcase(name, pattern)


@dataclass
class ParameterGroups:
    """Rules that sort a model's trainable parameters into a few groups.

    A parameter's rate is ``lr * layer factor * product of the multipliers that fit its name``. The layer
    factor is ``layer_decay ** (depth + 1 - id)`` for the parameters of a sub-module that has ``layer_id(name) -> int``
    and ``depth`` (a ViT encoder: id 0 for the patch embedding, i + 1 for block i), and 1 for all others (BEiT; ViTDet
    section A.2). Parameters with one dimension or less (norms, biases, LayerScale) and those that a sub-module lists
    in ``no_weight_decay()`` are not decayed, unless ``decay_everything``.

    Attributes:
        weight_decay: of the parameters that are decayed.
        layer_decay: factor per layer below the top, 1 or None = off.
        decay_everything: decay norms, biases and position tables as well (the released ViTDet recipe).
        lr_multipliers: beginning of parameter names, or pattern with ``*`` and ``?`` -> factor, e.g.
            ``{"backbone.": 0.1, "*.sampling_offsets.*": 0.1}``.
    """

    weight_decay: float = 0.0
    layer_decay: float | None = None
    decay_everything: bool = False
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lr_multipliers = {str(k): float(v) for k, v in (self.lr_multipliers or {}).items()}
        if self.weight_decay < 0:
            raise ValueError(f"optimizer.weight_decay must be 0 or more, it is {self.weight_decay}")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"optimizer.layer_decay must lie in (0, 1], it is {self.layer_decay}; null turns it off")

    def lr_factors(self, model: nn.Module) -> dict[str, float]:
        """Factor on the base learning rate for every parameter name of ``model``."""
        names = [name for name, _ in model.named_parameters()]
        for prefix in self.lr_multipliers:
            if not any(name_fits(name, prefix) for name in names):
                parts = sorted({name.split(".")[0] for name in names})
                raise ValueError(
                    f"optimizer.lr_multipliers: no parameter name starts with {prefix!r} or fits it as a pattern; the "
                    f"model's parts are {parts}"
                )
        factors = dict.fromkeys(names, 1.0)
        if self.layer_decay is not None:
            factors.update(_layer_factors(model, self.layer_decay))
        for name in names:
            for prefix, multiplier in self.lr_multipliers.items():
                factors[name] *= multiplier if name_fits(name, prefix) else 1.0
        return factors

    def __call__(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        """Groups for a ``torch.optim`` constructor, each with a readable ``name``; frozen parameters are left out.

        Raises:
            ValueError: if nothing is trainable, or a multiplier fits no parameter.
        """
        factors = self.lr_factors(model)
        exempt = _no_weight_decay(model)
        groups: dict[tuple[float, bool], dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            decayed = self.decay_everything or (parameter.ndim > 1 and name not in exempt)
            key = (round(factors[name], 12), decayed)
            if key not in groups:
                groups[key] = {
                    "name": f"lr x {factors[name]:.4g}, {'decay' if decayed else 'no decay'}",
                    "params": [],
                    "lr": lr * factors[name],
                    "weight_decay": self.weight_decay if decayed else 0.0,
                }
            groups[key]["params"].append(parameter)
        if not groups:
            raise ValueError("the model has no trainable parameter: unfreeze the heads or a part of the backbone")
        return list(groups.values())


def _layer_factors(model: nn.Module, rate: float) -> dict[str, float]:
    factors: dict[str, float] = {}
    encoders = [(name, m) for name, m in model.named_modules() if callable(getattr(m, "layer_id", None))]
    if not encoders:
        raise ValueError(
            f"optimizer.layer_decay is {rate} but no part of the model has layers to decay (layer_id): set it to null"
        )
    for prefix, encoder in encoders:
        top: Any = encoder.depth
        layer_id: Any = encoder.layer_id
        for name, _ in encoder.named_parameters():
            full = f"{prefix}.{name}" if prefix else name
            factors[full] = float(rate ** (top + 1 - layer_id(name)))
    return factors


def _no_weight_decay(model: nn.Module) -> set[str]:
    exempt: set[str] = set()
    for prefix, module in model.named_modules():
        names: Any = getattr(module, "no_weight_decay", None)
        if callable(names):
            exempt.update(f"{prefix}.{name}" if prefix else name for name in names())
    return exempt


@dataclass
class AdamW:
    """Recipe for ``torch.optim.AdamW``; call it with a model.

    Attributes:
        lr: learning rate of the top (heads) before the schedule's multiplier.
        betas: decay of the two moment averages.
        eps: added to the root of the second moment.
        fused: one kernel for all parameters; None = where the device has one.
        weight_decay, layer_decay, decay_everything, lr_multipliers: see :class:`ParameterGroups`.
    """

    lr: float
    betas: Sequence[float] = (0.9, 0.999)
    weight_decay: float = 0.1
    layer_decay: float | None = None
    decay_everything: bool = False
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    eps: float = 1e-8
    fused: bool | None = None

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over the trainable parameters of ``model``."""
        rules = _rules(self)
        beta1, beta2 = (float(b) for b in self.betas)
        fused = self.fused
        if fused is None:
            fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in model.parameters())
        return torch.optim.AdamW(
            rules(model, self.lr), lr=self.lr, betas=(beta1, beta2), eps=self.eps, fused=fused or None
        )


@dataclass
class SGD:
    """Recipe for ``torch.optim.SGD``; call it with a model.

    Attributes:
        lr: learning rate of the top (heads) before the schedule's multiplier.
        momentum, nesterov: as in PyTorch.
        weight_decay, layer_decay, decay_everything, lr_multipliers: see :class:`ParameterGroups`.
    """

    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    layer_decay: float | None = None
    decay_everything: bool = False
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over the trainable parameters of ``model``."""
        rules = _rules(self)
        return torch.optim.SGD(rules(model, self.lr), lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)


def _rules(recipe: AdamW | SGD) -> ParameterGroups:
    """The groups of a recipe whose numbers can be.

    Raises:
        ValueError: naming the key of one that cannot.
    """
    for name in ("lr", "weight_decay"):
        value = getattr(recipe, name)
        if not value >= 0:
            raise ValueError(f"optimizer.{name} is {value}: give 0 or more")
    return ParameterGroups(recipe.weight_decay, recipe.layer_decay, recipe.decay_everything, recipe.lr_multipliers)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers, as ``optimizer.<parameter name>.<what>``."""
    return {
        f"optimizer.{name}.{what}": value
        for name, parameter in model.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def prepare_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
) -> None:
    """Give the optimiser memories to load into.

    Args:
        model: whose parameters it trains; those that are sharded get sharded memories.
        optimizer: fresh.
        shapes: whole shape and type of every tensor of a checkpoint, by the names of :func:`optimizer_tensors`.
    """
    parameters = dict(model.named_parameters())
    fused = {id(p): group.get("fused") or group.get("capturable") for group in optimizer.param_groups
             for p in group["params"]}  # fmt: skip
    for key, (shape, dtype) in shapes.items():
        name, _, what = key.removeprefix("optimizer.").rpartition(".")
        if not key.startswith("optimizer.") or id(parameters.get(name)) not in fused:
            continue
        parameter = parameters[name]
        device = parameter.device if fused[id(parameter)] else torch.device("cpu")
        like_it = tuple(parameter.shape) == shape
        memory = torch.zeros_like(parameter.data) if like_it else torch.zeros(shape, dtype=dtype, device=device)
        optimizer.state[parameter][what] = memory
