import base64
import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pe_dense.visualization import write_features_page
from pe_dense.visualization.features_page import PackedFeatures


def maps(channels=40):
    rng = torch.Generator().manual_seed(0)
    basis = torch.randn(6, channels, generator=rng)  # the features have six dimensions only
    return [torch.einsum("dc,dhw->chw", basis, torch.randn(6, h, w, generator=rng)) for h, w in ((4, 5), (3, 3))]


def data_of(page):
    return json.loads(re.search(r"const DATA = (.*);\n", page).group(1))


def test_packed_features_keep_the_cosines():
    features = maps()
    packed = PackedFeatures.pack(features, dims=8)
    assert packed.kept == pytest.approx(1)
    rows = [F.normalize(f.flatten(1).T, dim=1) for f in features]
    small = [F.normalize(torch.from_numpy(g.astype(np.float32)).flatten(0, 1), dim=1) for g in packed.grids]
    torch.testing.assert_close(small[0] @ small[1].T, rows[0] @ rows[1].T, atol=0.03, rtol=0)
    assert PackedFeatures.pack(features, dims=2).kept < 0.9
    with pytest.raises(ValueError, match="not finite"):
        PackedFeatures.pack([features[0] * float("inf")])


def test_page_is_one_file_with_everything(tmp_path):
    pictures = [np.zeros((40, 50, 3), np.uint8), np.full((30, 30, 3), 200, np.uint8)]
    features = maps()
    path = tmp_path / "new" / "page.html"
    write_features_page(
        path, pictures, ["a.png", "</script><b>.png"], {"layer 3": features, "layer 7": features}, "A & B"
    )
    page = path.read_text()
    assert "<title>A &amp; B</title>" in page
    assert page.count("</script>") == 1  # that of the page
    assert not re.search(r"https?://|src=[\"'](?!data)", page)
    data = data_of(page)
    assert [layer["name"] for layer in data["layers"]] == ["layer 3", "layer 7"]
    assert [p["name"] for p in data["pictures"]] == ["a.png", "</script><b>.png"]
    assert all(p["source"].startswith("data:image/jpeg;base64,") for p in data["pictures"])
    grid = data["layers"][0]["grids"][0]
    assert (grid["rows"], grid["columns"]) == (4, 5)
    codes = np.frombuffer(base64.b64decode(grid["codes"]), np.int8)
    assert len(codes) == 4 * 5 * data["layers"][0]["dims"]
    write_features_page(tmp_path / "again.html", pictures, ["a.png", "</script><b>.png"], {"layer 3": features})
    again = data_of((tmp_path / "again.html").read_text())
    assert again["layers"][0] == data["layers"][0]  # nothing is left to chance


def test_what_does_not_belong_together(tmp_path):
    with pytest.raises(ValueError, match=r"1 pictures, 1 names and features of \[2\] images"):
        write_features_page(tmp_path / "x.html", [np.zeros((4, 4, 3), np.uint8)], ["a"], {"layer": maps()})
