"""The embedded data set: small textured scenes with exact ground truth, made on the spot."""

from pe_dense.data.scenes.shapes import CLASSES, ShapeClass
from pe_dense.data.scenes.write import ScenePaths, write_scenes

__all__ = ["CLASSES", "ScenePaths", "ShapeClass", "write_scenes"]
