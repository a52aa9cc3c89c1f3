"""Scores over the layers as a picture."""

import math
from pathlib import Path

import cv2
import pytest

from pe_dense.visualization import LayerCurve, layer_curves, plot_layers


def test_one_and_several_panels(tmp_path: Path) -> None:
    curve = LayerCurve("depth/rmse", {0: 0.7, 3: 0.3, 11: math.nan}, best=3, lower_is_better=True)
    flat = LayerCurve("rank", {0: 1.0})
    single = cv2.imread(str(plot_layers([curve], tmp_path / "new" / "one.png", "run")))
    several = cv2.imread(str(plot_layers([curve, flat, curve], tmp_path / "three.png")))
    assert several.shape[1] == 2 * single.shape[1]
    assert several.shape[0] == 2 * single.shape[0]
    orange = (abs(single.astype(int) - (0, 94, 214)).max(2) < 12).sum()
    assert orange > 50  # the star of the best layer


@pytest.mark.parametrize(
    ("best", "last", "texts"),
    [(0.5, 0.25, ("0.5", "0.25")), (4.0591, 4.0588, ("4.0591", "4.0588")), (4.0, 4.0, ("4", "4"))],
)
def test_numbers_in_the_legend_can_be_told_apart(tmp_path, monkeypatch, best, last, texts) -> None:
    labels = []
    mark = layer_curves._mark
    monkeypatch.setattr(layer_curves, "_mark", lambda *args: labels.append(args[3]) or mark(*args))
    plot_layers([LayerCurve("rmse", {0: 1.0, 3: best, 5: last}, best=3)], tmp_path / "x.png")
    assert labels == [f"last: {texts[1]}", f"best, layer 3: {texts[0]}"]


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rank: there is no number to draw"):
        plot_layers([LayerCurve("rank", {0: math.nan})], tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"cannot write pictures of type '\.bmp'"):
        plot_layers([LayerCurve("rank", {0: 1.0})], tmp_path / "x.bmp")
