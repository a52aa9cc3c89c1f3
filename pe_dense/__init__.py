"""pe_dense: dense prediction with Meta's Perception Encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pe_dense.prediction import Predictor, features

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__", "features"]


def __getattr__(name: str) -> Any:
    """Import what predicts when it is asked for, so that ``import pe_dense`` stays light."""
    if name in ("Predictor", "features"):
        from pe_dense import prediction

        return getattr(prediction, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
