"""One training step of the released detector at its full size, on shapes alone."""

import pytest
import torch

from pe_dense.engine.simulation import imitated, training_batch, training_step
from pe_dense.modeling.backbone import pe_spatial_g14_448
from projects.deta import Criterion, DetaPyramid, build_deta


class Watching(Criterion):
    """Remembers the shapes that it was given and made."""

    def __init__(self):
        super().__init__()
        self.shapes = {}

    def __call__(self, queries, first_stage, objects):
        losses = super().__call__(queries, first_stage, objects)
        given = {"queries": queries.boxes, "logits": queries.logits, "cells": first_stage.boxes}
        self.shapes = {name: tuple(value.shape) for name, value in (given | losses).items()}
        return losses


@pytest.mark.slow
def test_step_of_the_released_detector():
    with torch.device("meta"):
        encoder = pe_spatial_g14_448(
            patch_size=16, grid_size=24, window_size=24, global_blocks=(12, 24, 36, 49), abs_pos="tile",
            rope="rescaled", rope_reference=16, mask_padding=False, checkpoint_every=1,
        )  # fmt: skip
        model = build_deta(DetaPyramid(encoder), 91, square_size=1824, checkpoint_layers=True)
    assert sum(p.numel() for p in model.parameters()) == 1_880_064_281
    model.criterion = Watching()
    with imitated(model) as model:
        cost = training_step(model, training_batch(1, 1792, 1792, objects=20), "bf16")
    losses = {f"loss_{k}{s}": () for k in ("cls", "box", "giou") for s in ("", "_aux", "_enc")}
    cells = {"queries": (6, 1, 900, 4), "logits": (6, 1, 900, 91), "cells": (1, 1, 69295, 4)}
    assert model.criterion.shapes == losses | cells
    encoder_products = 2 * 50 * 12 * 1536**2 * 114**2  # of the encoder's linear layers; windows are padded
    assert 1.0 < cost.forward / encoder_products < 3.0
    assert 2.5 < cost.backward / cost.forward < 3.5  # the encoder is computed again
