"""DETA on the Perception Encoder."""

from projects.deta.assignment import HungarianAssigner, OverlapAssigner
from projects.deta.build import build_deta
from projects.deta.classification import Focal, QualityFocal, Varifocal
from projects.deta.criterion import Criterion
from projects.deta.denoising import Noise
from projects.deta.model import Deta
from projects.deta.neck import DetaPyramid
from projects.deta.released import from_released, load_released_deta, to_released
from projects.deta.selection import Selection
from projects.deta.tta import released_tta

__all__ = [
    "Criterion",
    "Deta",
    "DetaPyramid",
    "Focal",
    "HungarianAssigner",
    "Noise",
    "OverlapAssigner",
    "QualityFocal",
    "Selection",
    "Varifocal",
    "build_deta",
    "from_released",
    "load_released_deta",
    "released_tta",
    "to_released",
]
