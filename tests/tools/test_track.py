from collections.abc import Callable
from pathlib import Path

import pytest

from pe_dense.data.mot import read_mot_results

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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set", "hgih=1"], "'hgih=1': ByteTrack has the settings high"),
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
