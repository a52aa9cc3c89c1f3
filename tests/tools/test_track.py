import dataclasses
import json
import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pe_dense.data.mot import read_mot_results
from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection import MaskRCNN, build_mask_rcnn, build_tracking_rcnn
from pe_dense.modeling.tracking.association import OCSORT, BoTSORT, ByteTrack, Tracker
from pe_dense.prediction import Predictor
from pe_dense.structures import encode_rle

from .conftest import ROOT

RunTool = Callable[..., int]


@pytest.fixture
def sequence(real_data: Path) -> Path:
    return real_data / "mot" / "MOT17-mini" / "train" / "MOT17-02-FRCNN"


@pytest.mark.parametrize("tracker", ["bytetrack", "botsort", "ocsort"])
def test_detections_of_a_sequence(
    tracker: str, sequence: Path, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--detections", sequence / "det" / "det.txt", "--output", tmp_path, "--tracker", tracker, "--no-draw"]
    assert run_tool("track", sequence, *options, "--camera-motion", "flow") == 0
    written = capsys.readouterr().out.splitlines()
    assert written == [str(tmp_path / "MOT17-02-FRCNN.txt"), str(tmp_path / "MOT17-02-FRCNN_tracks.csv")]
    results = read_mot_results(written[0])
    assert len(results) == 48
    assert results.ids.max() == 12


def test_masks_and_pictures(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    """From masks in a COCO json to drawn pictures."""
    images, annotations = [], []
    for number in range(3):
        mask = np.zeros((48, 64), np.uint8)
        mask[10:30, 5 + 2 * number : 25 + 2 * number] = 1
        (tmp_path / "clip").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "clip" / f"f{number + 8}.png"), mask * 200)
        images.append({"id": number, "file_name": f"clip/f{number + 8}.png"})
        box = [5 + 2 * number, 10, 20, 20]
        annotations.append({"image_id": number, "category_id": 1, "bbox": box, "score": 0.9})
        annotations[-1]["segmentation"] = encode_rle(mask)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "found.json").write_text(json.dumps(content))
    options = ["--detections", tmp_path / "found.json", "--output", tmp_path / "out", "--set", "overlap=mask"]
    assert run_tool("track", tmp_path / "clip", *options, "--draw-as", "frames") == 0
    written = capsys.readouterr().out.splitlines()
    assert read_mot_results(written[0]).ids.tolist() == [1, 1, 1]
    assert "cat" in Path(written[1]).read_text()
    assert sorted(f.name for f in Path(written[2]).iterdir()) == ["f10.jpg", "f8.jpg", "f9.jpg"]


def test_masks_as_mots_text(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    """Overlapping polygons of a COCO json become disjoint masks, which evaluate_mot.py takes and finds right."""
    images, annotations, rows = [], [], []
    (tmp_path / "clip").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "clip" / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
        images.append({"id": number, "file_name": f"{number}.png"})
        for row, (left, score) in enumerate([(5 + number, 0.8), (17 + number, 0.9)]):
            box, polygon = [left, 10, 20, 20], [left, 10, left + 20, 10, left + 20, 30, left, 30]
            annotations.append({"image_id": number, "category_id": 1, "bbox": box, "score": score})
            annotations[-1]["segmentation"] = [polygon]
            mask = np.zeros((48, 64), np.uint8)
            mask[10:30, left : left + (20 if row else 12)] = 1  # the second one scores higher, and is whole
            rows.append(f"{number + 1} {2001 + row} 2 48 64 {encode_rle(mask)['counts']}\n")
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "found.json").write_text(json.dumps(content))
    (tmp_path / "gt" / "clip" / "gt").mkdir(parents=True)
    (tmp_path / "gt" / "clip" / "gt" / "gt.txt").write_text("".join(rows))
    (tmp_path / "gt" / "clip" / "seqinfo.ini").write_text("[Sequence]\nname=clip\nseqLength=4\n")
    options = ["--detections", tmp_path / "found.json", "--output", tmp_path / "out", "--no-draw"]
    assert run_tool("track", tmp_path / "clip", *options, "--mots") == 0
    assert str(tmp_path / "out" / "mots" / "clip.txt") in capsys.readouterr().out.splitlines()
    scores = tmp_path / "scores.json"
    results = ["--results", tmp_path / "out" / "mots", "--output", scores, "--workers", "1"]
    assert run_tool("evaluate_mot", "--benchmark", "MOTS", "--gt", tmp_path / "gt", *results) == 0
    found = json.loads(scores.read_text())["pedestrian"]["clip"]
    assert {found[name] for name in ("HOTA", "IDF1", "MOTA", "LocA")} == {1.0}
    capsys.readouterr()
    for numbers, message in ((["person"], "class of MOTS 'person': give CLASS=N"), (["dog=2"], "none of dog is among")):
        assert run_tool("track", tmp_path / "clip", *options, "--mots", *numbers) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set", "hgih=1"], "'hgih=1': ByteTrack has the settings high"),
        (["--set", "overlap=mask"], "frame 0 of MOT17-02-FRCNN: the detections have no masks to compare"),
        (["--fps", "0"], "fps must be above 0"),
        (["--camera-motion", "none.txt"], "camera motion none.txt does not exist"),
        (["--score-range", "1", "0"], "range of scores must be ascending"),
    ],
)
def test_one_line_of_error(
    change: list[str],
    message: str,
    sequence: Path,
    tmp_path: Path,
    run_tool: RunTool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--detections", sequence / "det" / "det.txt", "--output", tmp_path]
    assert run_tool("track", sequence, *options, *change) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_commands_of_the_page() -> None:
    """docs/tracking.md names options and settings that there are, and its Python runs."""
    tool = runpy.run_path(str(ROOT / "tools" / "track.py"))
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", (ROOT / "docs" / "tracking.md").read_text(), re.M | re.S)
    count = 0
    for kind, code in blocks:
        if kind == "python":
            exec(code, {})
        for line in code.replace("\\\n", " ").splitlines() if kind == "bash" else ():
            if "tools/track.py" in line:
                args = tool["make_parser"]().parse_args(shlex.split(line)[2:])
                tool["make_settings"](args.tracker, args.set)
                count += 1
    assert count >= 5
    page = (ROOT / "docs" / "tracking.md").read_text()
    for change in re.findall(r"`--set ([^`]+)`", page):
        if "key=" not in change:
            tool["make_settings"]("botsort", change.split())
    for settings in (ByteTrack(), BoTSORT(), OCSORT()):
        for field in dataclasses.fields(settings):
            assert f"`{field.name}" in page, field.name


def detector(with_head: bool) -> MaskRCNN:
    torch.manual_seed(0)
    encoder = PerceptionEncoder(32, 2, 2, 64, patch_size=16, grid_size=4)
    plain = build_mask_rcnn(
        FeaturePyramid(encoder, 16), 1, with_masks=False, conv_dim=8, fc_dim=16, square_size=None,
        pre_nms_topk=(20, 20), post_nms_topk=(10, 10), test_score_thresh=0.0,
    )  # fmt: skip
    return build_tracking_rcnn(plain, embed_dim=6, num_convs=0, fc_dim=8) if with_head else plain


@pytest.mark.parametrize(
    ("with_head", "choice", "width"),
    [(True, "auto", 6), (True, "head", 6), (True, "box", 32), (True, "none", 0), (False, "auto", 32)],
)
def test_where_appearance_comes_from(
    with_head: bool, choice: str, width: int, tmp_path: Path, run_tool: RunTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pe_dense.prediction.load_predictor", lambda *_, **__: Predictor(detector(with_head), [], None, "cpu")
    )
    widths = []

    class Watched(Tracker):
        def update(self, objects, frame=None, warp=None, embeddings=None):  # type: ignore[no-untyped-def, override]
            widths.append(0 if embeddings is None else embeddings.shape[1])
            return super().update(objects, frame, warp, embeddings)

    monkeypatch.setattr("pe_dense.modeling.tracking.association.Tracker", Watched)
    (tmp_path / "frames").mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), np.full((64, 64, 3), 50 * i, dtype=np.uint8))
    options = ["--checkpoint", "C", "--output", tmp_path / "out", "--tracker", "botsort", "--no-draw"]
    assert run_tool("track", tmp_path / "frames", *options, "--appearance", choice) == 0
    assert widths == [width, width]


def test_no_head_to_ask(
    tmp_path: Path, run_tool: RunTool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "pe_dense.prediction.load_predictor", lambda *_, **__: Predictor(detector(False), [], None, "cpu")
    )
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "0.png"), np.zeros((64, 64, 3), dtype=np.uint8))
    options = ["--checkpoint", "C", "--output", tmp_path / "out", "--tracker", "botsort", "--appearance", "head"]
    assert run_tool("track", tmp_path / "frames", *options) == 2
    assert "error: the model has no identity head to tell what objects look like; train one" in capsys.readouterr().err
