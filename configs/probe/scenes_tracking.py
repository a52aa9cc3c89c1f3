"""Objects followed by the features of each layer of a small encoder, on the embedded videos, on a CPU or any GPU.

Make the scenes first: `python tools/make_scenes.py --output datasets/scenes`. Nothing is trained. The encoder's weights
are random; give a trained one with `--encoder-from RUN`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import DAVIS2017
from pe_dense.engine import RunSettings
from pe_dense.modeling.backbone import EncoderFeatures
from pe_dense.modeling.tracking import TrackerProbe, VideoObjectTracker

from ..common.davis_propagation import dino as _propagation
from ..common.small_encoder import encoder as _encoder

data = dict(root="datasets/scenes")
videos = L(DAVIS2017)(root="${data.root}/videos/davis", split="val")
_propagation.short_side = 192  # of the scenes
model = L(TrackerProbe)(
    model=L(VideoObjectTracker)(
        backbone=L(EncoderFeatures)(backbone=_encoder, layers=[-1], trainable_blocks=0),
        propagation=_propagation,
        pixel_mean=[127.5, 127.5, 127.5],
        pixel_std=[127.5, 127.5, 127.5],
    ),
    layers=None,
)
train = L(RunSettings)(output_dir="output/probe_scenes_tracking", seed=0)
