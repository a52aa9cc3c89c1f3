"""Hooks of one's own, and what the terminal shows."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from toy_run import CountingHook, make_config

from pe_dense.config import LazyCall as L
from pe_dense.engine import Hook, read_metrics, run_log, train
from pe_dense.engine.hooks import named_hooks
from pe_dense.engine.run_directory import RunDirectoryError
from pe_dense.engine.sharded import read_own, step_path
from pe_dense.engine.trainer import Trainer


class StopAt(Hook):
    """Ends the run by an error."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            raise InterruptedError(f"step {self.step}")


class Spy(Hook):
    """Sees the results of the evaluations."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self, trainer: Trainer) -> None:
        self.seen.append(trainer.results.get("bbox/AP", -1.0))


def test_two_of_one_class_from_the_config_and_one_more(tmp_path: Path) -> None:
    cfg = make_config(tmp_path, log_period=3, checkpoint_steps=3)
    cfg.hooks = [L(CountingHook)(name="a"), L(CountingHook)(name="b")]
    with pytest.raises(InterruptedError):
        train(cfg, hooks=[CountingHook("c"), StopAt(5)])
    saved = read_own(step_path(tmp_path / "checkpoints", 3), 0)["hooks"]
    states = [saved[name] for name in ("CountingHook", "CountingHook.2", "CountingHook.3")]
    assert [(state["name"], state["count"]) for state in states] == [("a", 3), ("b", 3), ("c", 3)]

    last = CountingHook("c")
    train(cfg, resume=True, hooks=[last])
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    for name in ("a", "b", "c"):
        assert [line[f"hooks/{name}"] for line in lines] == [2, 5, 8, 11]  # means over three steps each
    assert last.calls == ["before 3", "after 12"]


def test_hooks_of_the_config_are_a_part_of_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = make_config(tmp_path, steps=2)
    cfg.hooks = [L(CountingHook)(name="a")]
    train(cfg, hooks=[CountingHook("b")])
    train(cfg, resume=True)
    assert "state of hooks that are not there now: CountingHook.2" in caplog.text
    cfg.hooks[0].name = "other"
    with pytest.raises(RunDirectoryError, match=r"hooks\.0\.name: a -> other"):
        train(cfg, resume=True)


def test_results_are_there_for_hooks(tmp_path: Path) -> None:
    spy = Spy()
    results = train(make_config(tmp_path, steps=4, eval_period=0, eval_steps=2), hooks=[spy])
    assert spy.seen[:2] == [-1.0, -1.0]
    assert min(spy.seen[2:]) >= 0
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl") if "bbox/AP" in line] == [2, 4]
    assert "bbox/AP" in results


def test_all_hooks_hear_of_the_end(tmp_path: Path) -> None:
    class Broken(Hook):
        def after_train(self, trainer: Trainer) -> None:
            raise InterruptedError("at the end")

    hook = CountingHook("a")
    with pytest.raises(InterruptedError):
        train(make_config(tmp_path, steps=1), hooks=[Broken(), hook])
    assert hook.calls == ["before 0", "after 1"]


def test_things_that_are_no_hooks(tmp_path: Path) -> None:
    cfg = make_config(tmp_path / "run")
    with pytest.raises(TypeError, match=r"hooks\[1\] \(int\) is not a pe_dense\.engine\.Hook"):
        train(cfg, hooks=[CountingHook("a"), 3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"state_dict\(\) of hooks\[0\] \(CountingHook\) holds more than numbers"):
        train(cfg, hooks=[CountingHook("a", state=Path)])
    cfg.hooks = L(CountingHook)(name="a")
    with pytest.raises(TypeError, match="hooks must be a list of call nodes, it is CountingHook"):
        train(cfg)
    assert not (tmp_path / "run").exists()


def test_names_of_states() -> None:
    assert list(named_hooks([StopAt(1), Spy(), StopAt(2), StopAt(3)])) == ["StopAt", "Spy", "StopAt.2", "StopAt.3"]


def test_progress_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar and the log lines share one console, and the file has the lines without the terminal's codes."""
    screen = io.StringIO()
    monkeypatch.setattr(run_log, "_console", Console(file=screen, force_terminal=True, width=200))
    train(make_config(tmp_path, steps=3, log_period=2, eval_period=0))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "━ 3/3" in shown
    assert "training 3 steps" in shown
    assert shown.count("step 2/3") == 1
    assert "\x1b[" in screen.getvalue()
    log = (tmp_path / "log.txt").read_text()
    assert "step 2/3" in log
    assert "\x1b[" not in log
