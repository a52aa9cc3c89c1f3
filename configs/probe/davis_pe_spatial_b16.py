"""Objects of videos followed by the features of each layer of PE-Spatial B; DAVIS 2017 val, DINO's protocol.

Nothing is trained. Not run here.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import DAVIS2017
from pe_dense.engine import RunSettings
from pe_dense.modeling.tracking import TrackerProbe

from ..davis.propagation_pe_spatial_b16 import model as _model

data = dict(root="datasets/DAVIS", split="val", resolution="480p")
videos = L(DAVIS2017)(root="${data.root}", split="${data.split}", resolution="${data.resolution}")
model = L(TrackerProbe)(model=_model, layers=None)
train = L(RunSettings)(output_dir="output/probe_davis_pe_spatial_b16", seed=0)
