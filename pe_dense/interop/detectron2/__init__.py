"""Working beside detectron2: backbones for its models, its data sets and trainers for ours.

Nothing else of pe_dense imports detectron2.

Raises:
    ImportError: if detectron2 is not there, or cannot be imported.
"""

from importlib import import_module

try:
    import_module("detectron2.data")
    import_module("detectron2.modeling")
except ImportError as error:
    if error.name in ("detectron2", "detectron2.data"):  # the latter: beside a clone of it, whose folder has that name
        raise ImportError(
            "pe_dense.interop.detectron2 needs detectron2, which is not installed in this environment; it is on no "
            "package index, https://detectron2.readthedocs.io/en/latest/tutorials/install.html says how to get it"
        ) from None
    raise ImportError(
        f"detectron2 is installed but cannot be imported ({error}): install what it misses, or a version of it that "
        "fits this environment"
    ) from error

from pe_dense.interop.detectron2.backbones import EncoderBackbone, PyramidBackbone
from pe_dense.interop.detectron2.catalog import CatalogDataset
from pe_dense.interop.detectron2.metadata import from_metadata, to_metadata
from pe_dense.interop.detectron2.models import AdaptedModel
from pe_dense.interop.detectron2.structures import from_detectron2, to_detectron2

__all__ = [
    "AdaptedModel",
    "CatalogDataset",
    "EncoderBackbone",
    "PyramidBackbone",
    "from_detectron2",
    "from_metadata",
    "to_detectron2",
    "to_metadata",
]
