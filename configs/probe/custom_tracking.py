"""Which layer of PE-Spatial B follows the objects in your videos best? Nothing is trained.

A folder of frames for each video, and a folder of the same name with indexed PNGs, named like the frames: of the first
frame, and of all that are to be scored. Set `data.images` and `data.masks`:

python tools/probe_layers.py --config-file configs/probe/custom_tracking.py data.images=DIR data.masks=DIR
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import VideoFolder
from pe_dense.engine import RunSettings
from pe_dense.modeling.tracking import TrackerProbe

from ..davis.propagation_pe_spatial_b16 import model as _model

data = dict(images="???", masks="???")
videos = L(VideoFolder)(annotations="${data.masks}", images="${data.images}")
model = L(TrackerProbe)(model=_model, layers=None)
train = L(RunSettings)(output_dir="output/probe_custom_tracking", seed=0)
