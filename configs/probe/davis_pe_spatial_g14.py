"""Objects of videos followed by the features of each layer of PE-Spatial G; DAVIS 2017 val, DINO's protocol.

Nothing is trained. Not run here.
"""

from ..davis.propagation_pe_spatial_g14 import model as _model
from .davis_pe_spatial_b16 import data, model, train, videos

model.model = _model
train.output_dir = "output/probe_davis_pe_spatial_g14"
