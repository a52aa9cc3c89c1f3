"""Running the command-line tools inside the test process."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def run_tool(monkeypatch) -> Callable[..., int]:
    """Call ``main`` of tools/<name>.py with the given arguments; returns its exit status."""

    def run(name: str, *arguments: object) -> int:
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return module.main()

    return run
