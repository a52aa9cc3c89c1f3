"""Which layer of PE-Core B tells your images apart, by nearest neighbours and by a linear head? Frozen.

A folder of images for each class, ImageNet's layout; set `data.train` and `data.val`:

python tools/probe_layers.py --config-file configs/probe/custom_classes.py data.train=DIR data.val=DIR
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_folder_classes
from pe_dense.engine import SGD, CosineSchedule, TrainSettings
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import EncoderFeatures, LayerProbe, pe_core_b16_224
from pe_dense.modeling.classification import KnnClassifier, build_linear_classifier

from ..common.own_classes import data, dataloader
from ..common.own_classes import evaluator as _evaluator

model = L(LayerProbe)(
    model=L(build_linear_classifier)(
        backbone=L(EncoderFeatures)(
            backbone=L(pe_core_b16_224)(weights="PE-Core-B16-224"), layers=[-1], trainable_blocks=0
        ),
        num_classes=L(count_folder_classes)(root="${data.train}"),
        pooling="cls",
        pixel_mean=[127.5, 127.5, 127.5],
        pixel_std=[127.5, 127.5, 127.5],
    ),
    layers=None,
)
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
knn = L(KnnClassifier)(k=20, temperature=0.07)  # DINO's
optimizer = L(SGD)(lr=0.1, momentum=0.9, weight_decay=0.0)
lr_schedule = L(CosineSchedule)(warmup_steps=100)
train = L(TrainSettings)(output_dir="output/probe_custom_classes", epochs=20, seed=0, best_metric=None)
