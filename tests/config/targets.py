"""Classes and functions that the configs of these tests call; annotations are strings on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import nn

from pe_dense.config import run_constant

if TYPE_CHECKING:
    from decimal import Decimal  # a name that does not exist at run time


class Backbone(nn.Module):
    """Takes plain values, a class, and a tuple."""

    built = 0

    def __init__(
        self,
        embed_dim: int,
        depth: int = 2,
        drop_path: float = 0.0,
        norm_layer: type[nn.Module] = nn.LayerNorm,
        size: tuple[int, int] = (8, 8),
        policy: Literal["tile", "bilinear"] = "tile",
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        Backbone.built += 1
        self.arguments = {
            "embed_dim": embed_dim,
            "depth": depth,
            "drop_path": drop_path,
            "norm_layer": norm_layer,
            "size": size,
            "policy": policy,
            "weights": weights,
        }

    @classmethod
    def tiny(cls, depth: int = 1) -> Backbone:
        """A classmethod target."""
        return cls(embed_dim=4, depth=depth)


class Detector(nn.Module):
    """Takes a module."""

    def __init__(self, backbone: nn.Module, num_classes: int, tags: Sequence[str] = (), score: float | None = None):
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.tags = tags
        self.score = score


class Transform(Protocol):
    """A protocol cannot be checked by inheritance."""

    def apply(self, x: int) -> int: ...


def apply(transform: Transform, x: int = 0) -> int:
    """An argument that must follow a protocol."""
    return transform.apply(x)


@dataclass
class Resize:
    """A dataclass target that follows the protocol."""

    size: int = 8
    scale: tuple[float, ...] = (1.0,)

    def apply(self, x: int) -> int:
        return x * self.size


@dataclass
class Settings:
    """Annotations of every kind the checks know."""

    output_dir: Path
    epochs: int = 1
    amp: bool = False
    name: str = "run"
    names: set[str] = field(default_factory=set)
    rates: Mapping[str, float] = field(default_factory=dict)
    activation: Callable[..., Any] | None = None
    precise: Decimal | None = None
    later: int = None  # type: ignore[assignment]  # an old-style implicit Optional
    pair: int | tuple[int, int] = 1


def build_loader(transforms: Sequence[Transform], batch_size: int = 1, **options: Any) -> dict[str, Any]:
    """A function target with open keyword arguments."""
    return {"transforms": transforms, "batch_size": batch_size, **options}


def strict_loader(resize: Sequence[Resize], path: Path) -> list[Any]:
    """A function whose annotation names a class."""
    return [resize, path]


@run_constant
def count(path: str) -> int:
    """The number of characters stands for the number of classes of a file."""
    return len(path)


@run_constant
def broken_constant() -> Any:
    """Returns what no config can hold."""
    return object()


def unannotated(value):
    """Returns nobody knows what."""
    return value


def make_name() -> str:
    """Returns a string."""
    return "a name"


def open_file(json_file: str, size: int, image_root: str) -> None:
    """Raises with the value of a path in the message, and the names of the others."""
    raise FileNotFoundError(f"{Path(json_file)} is missing; set size, not image_root")


def failing(reason: str) -> None:
    """Raises while it is built."""
    raise OSError(reason)


class Odd:
    """Argument names that are also methods of DictConfig."""

    def __init__(self, items: int = 0, keys: str = "", get: list[int] | None = None, pop: bool = False) -> None:
        self.arguments = (items, keys, get, pop)
