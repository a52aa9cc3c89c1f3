"""pe_dense: dense prediction with Meta's Perception Encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pe_dense.prediction import Predictor

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the predictor when it is asked for, so that ``import pe_dense`` stays light."""
    if name == "Predictor":
        from pe_dense.prediction import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
