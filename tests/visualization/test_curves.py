"""Reading and plotting metrics.jsonl."""

import json
import logging

import cv2
import pytest
from matplotlib.figure import Figure

from pe_dense.visualization import plot_run, read_metrics


def write_run(folder, steps=40):
    folder.mkdir(parents=True)
    lines = []
    for step in range(0, steps, 2):
        parts = {"loss_cls": 1 / (step + 1), "loss_mask": 0.5}
        lines.append(
            {"step": step, "epoch": step / 10, "loss": sum(parts.values()), **parts, "lr": 0.1, "step_time": 1}
        )
        if step % 10 == 8:
            lines.append({"step": step, "epoch": step / 10, "bbox/AP": step, "bbox/AP50": 2 * step, "bbox/AP-a b/c": 1})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_training_and_evaluation_lines_are_told_apart(tmp_path):
    run = read_metrics(write_run(tmp_path / "first"))
    assert run.name == "first"
    assert [r["step"] for r in run.training] == list(range(0, 40, 2))
    assert [r["bbox/AP"] for r in run.evaluation] == [8, 18, 28, 38]


def test_resumed_steps_count_once_and_a_cut_line_is_left_out(tmp_path, caplog):
    path = write_run(tmp_path / "run") / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 30, "loss": 77.0}\n{"step": 32, "lo')
    with caplog.at_level(logging.WARNING):
        run = read_metrics(path.parent)
    assert [r["loss"] for r in run.training if r["step"] == 30] == [77.0]
    assert len(run.training) == 20
    assert "last line is incomplete" in caplog.text


@pytest.mark.parametrize("count", [1, 2])
def test_plot(tmp_path, count):
    runs = [write_run(tmp_path / name / "same") for name in "ab"[:count]]
    path = plot_run(runs, tmp_path / "out" / "curves.png")
    assert cv2.imread(str(path)).std() > 5


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize("steps", [2, 6])
def test_few_points_are_marked(tmp_path, drawn, steps):
    plot_run(write_run(tmp_path / "run", steps=steps), tmp_path / "curves.png")
    axes = drawn[0].axes
    assert [axis.get_ylabel() for axis in axes] == ["loss", "learning rate", "seconds per step"]  # no AP, no panel
    for axis in axes:
        assert all(line.get_marker() != "" and len(line.get_xdata()) == steps // 2 for line in axis.get_lines())
        assert all(float(tick).is_integer() for tick in axis.get_xticks())
    drawn[0].draw_without_rendering()
    legend, frame = axes[0].get_legend().get_window_extent(), axes[0].get_window_extent()
    assert legend.y0 >= frame.y1 - 1  # above the axis, not over the curves


def test_curves_of_a_whole_run(tmp_path, drawn):
    plot_run(write_run(tmp_path / "run"), tmp_path / "curves.png", smoothing=5)
    loss, precision = drawn[0].axes[:2]
    assert {line.get_marker() for line in loss.get_lines()} == {"", "None"}
    assert [line.get_label() for line in precision.get_lines()] == ["bbox AP (38.0)", "bbox AP50 (76.0)"]
    assert loss.get_xlim() == precision.get_xlim()


def test_losses_of_several_tasks(tmp_path, drawn):
    line = {"loss": 2.0, "depth.loss_sig": 0.5, "detection.loss_cls": 1.5, "lr": 0.1}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": s, **line}) + "\n" for s in (1, 2, 3)))
    plot_run(tmp_path, tmp_path / "curves.png")
    labels = {line.get_label() for line in drawn[0].axes[0].get_lines()}
    assert {"total", "depth.sig", "detection.cls"} <= labels


def test_many_parts_of_a_loss_are_told_apart(tmp_path, drawn):
    """Parts of one kind have one colour and lines of their own; the total does not press them together."""
    names = [f"loss_{kind}{stage}" for kind in ("cls", "box", "giou") for stage in ("", "_aux", "_enc")]
    line = {"loss": 9.0, **dict.fromkeys(names, 1.0)}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": s, **line}) + "\n" for s in (1, 2, 3)))
    plot_run(tmp_path, tmp_path / "curves.png")
    axis = drawn[0].axes[0]
    looks = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in axis.get_lines()}
    assert len(set(looks.values())) == 10
    assert looks["cls"][0] == looks["cls_aux"][0] == looks["cls_enc"][0] != looks["box"][0]
    assert axis.get_yscale() == "log"


def test_an_axis_of_precision_is_not_about_hundredths(tmp_path, drawn):
    (tmp_path / "metrics.jsonl").write_text('{"step": 4, "loss": 2.0}\n{"step": 4, "bbox/AP": 0.0}\n')
    plot_run(tmp_path, tmp_path / "curves.png")
    assert drawn[0].axes[1].get_ylim() == (0, 1)


def test_a_run_without_numbers_is_an_error(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "loss": NaN}\n{"step": 1, "loss": null}\n')
    with pytest.raises(ValueError, match="no finite number has been logged yet"):
        plot_run(tmp_path, tmp_path / "curves.png")


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl does not exist"):
        read_metrics(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text("")
    with pytest.raises(ValueError, match="has no record"):
        read_metrics(tmp_path)
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2"):
        read_metrics(path)
