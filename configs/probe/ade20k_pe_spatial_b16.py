"""A linear segmentation head on every layer of PE-Spatial B, frozen; ADE20K, DINOv2's settings. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import LayerProbe

from ..ade20k.linear_pe_spatial_b16 import data, dataloader, lr_schedule, optimizer, train
from ..ade20k.linear_pe_spatial_b16 import evaluator as _evaluator
from ..ade20k.linear_pe_spatial_b16 import model as _model

model = L(LayerProbe)(model=_model, layers=None)
_evaluator.boundary = None
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
train.best_metric = None
train.eval_steps = 20000
train.output_dir = "output/probe_ade20k_pe_spatial_b16"
