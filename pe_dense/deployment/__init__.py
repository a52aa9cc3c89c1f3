"""Models as files for other programs: ONNX, and PyTorch's exported programs."""

from pe_dense.deployment.errors import ExportError
from pe_dense.deployment.export import Difference, ExportedFile, export_model
from pe_dense.deployment.facts import read_facts
from pe_dense.deployment.graph import ExportGraph
from pe_dense.deployment.source import ExportSource

__all__ = ["Difference", "ExportError", "ExportGraph", "ExportSource", "ExportedFile", "export_model", "read_facts"]
