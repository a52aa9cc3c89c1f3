import pytest
import torch

from pe_dense.modeling.backbone import EncoderFeatures, FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.segmentation import build_linear_segmenter, build_pyramid_segmenter

CLASSES = 4


def tiny_encoder(**options):
    return PerceptionEncoder(32, 2, 2, 64, patch_size=8, grid_size=4, **options)


@pytest.fixture
def tiny():
    """Builder of a small segmenter: ``tiny(pyramid=False, **options)``."""

    def build(pyramid=False, layers=None, **options):
        torch.manual_seed(0)
        if pyramid:
            return build_pyramid_segmenter(FeaturePyramid(tiny_encoder(), out_channels=16), CLASSES, **options)
        return build_linear_segmenter(EncoderFeatures(tiny_encoder(), layers), CLASSES, **options)

    return build


@pytest.fixture
def sample():
    """Maker of a training sample: ``sample(rows, columns, seed=0)``."""

    def make(rows, columns, seed=0, **extra):
        rng = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, CLASSES, (rows, columns), generator=rng)
        labels[: rows // 4] = 255
        image = torch.randint(0, 256, (3, rows, columns), dtype=torch.uint8, generator=rng)
        return {"image": image, "sem_seg": labels, "file_name": f"{seed}.png", **extra}

    return make
