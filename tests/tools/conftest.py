"""Running the command-line tools inside the test process."""

import logging
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Call ``tools/<name>.py`` as a program with the given arguments; returns its exit status."""
    log = logging.getLogger("pe_dense")

    def run(name: str, *arguments: object) -> int:
        monkeypatch.setattr("sys.argv", [f"{name}.py", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda number, handler: None)  # the test process keeps its own
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "tools" / f"{name}.py"), run_name="__main__")
        return int(left.value.code or 0)

    log.handlers.clear()  # of an earlier test: they write to what stderr was then
    yield run
    log.handlers.clear()
