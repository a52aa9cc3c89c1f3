"""Objects of videos followed by the features of each layer of PE-Core G; DAVIS 2017 val, DINO's protocol.

The best layer lies far from the last one (arXiv 2504.13181, figure 8). Nothing is trained. Not run here.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_core_g14_448

from .davis_pe_spatial_b16 import data, model, train, videos

model.model.backbone.backbone = L(pe_core_g14_448)(weights="PE-Core-G14-448")
train.output_dir = "output/probe_davis_pe_core_g14"
