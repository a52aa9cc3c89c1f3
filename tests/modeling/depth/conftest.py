import pytest
import torch

from pe_dense.modeling.backbone import EncoderFeatures, PerceptionEncoder
from pe_dense.modeling.depth import build_dpt_depth, build_linear_depth


@pytest.fixture
def tiny():
    """Builder of a small estimator: ``tiny("linear" or "dpt", layers=None, cls=True, trainable=None, **options)``."""

    def build(kind="linear", layers=None, cls=True, trainable=None, **options):
        torch.manual_seed(0)
        encoder = PerceptionEncoder(32, 4, 2, 64, patch_size=8, grid_size=4, use_cls_token=cls)
        neck = EncoderFeatures(encoder, layers, trainable_blocks=trainable)
        return {"linear": build_linear_depth, "dpt": build_dpt_depth}[kind](neck, **options)

    return build


@pytest.fixture
def sample():
    """Maker of a training sample with depths from 1 to 5 m, unknown in the top rows: ``sample(rows, columns)``."""

    def make(rows, columns, seed=0, **extra):
        rng = torch.Generator().manual_seed(seed)
        depth = 1 + 4 * torch.rand(rows, columns, generator=rng)
        depth[: rows // 4] = 0
        image = torch.randint(0, 256, (3, rows, columns), dtype=torch.uint8, generator=rng)
        return {"image": image, "depth": depth, "file_name": f"{seed}.png", **extra}

    return make
