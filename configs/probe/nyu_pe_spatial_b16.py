"""A linear depth head on every layer of PE-Spatial B, frozen; NYU, DINOv2's settings. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import LayerProbe

from ..nyu.linear1_pe_spatial_b16 import data, dataloader, lr_schedule, optimizer, train
from ..nyu.linear1_pe_spatial_b16 import evaluator as _evaluator
from ..nyu.linear1_pe_spatial_b16 import model as _model

model = L(LayerProbe)(model=_model, layers=None)
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
train.best_metric = None
train.eval_steps = 9600
train.output_dir = "output/probe_nyu_pe_spatial_b16"
