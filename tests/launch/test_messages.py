"""Errors for the user, and bugs."""

import importlib
from pathlib import Path

import pytest

from pe_dense.data import read_image
from pe_dense.launch import messages, user_message
from projects.deta import released_tta


def caught(fn: object, *args: object) -> BaseException:
    with pytest.raises(Exception) as info:  # noqa: PT011 - any
        fn(*args)  # type: ignore[operator]
    return info.value


def test_raised_by_the_library_or_by_something_else() -> None:
    assert user_message(caught(read_image, "/missing.png")).startswith("image /missing.png does not exist")
    assert user_message(caught(int, "x")) is None
    assert user_message(caught(lambda: 1 / 0)) is None


def test_raised_by_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_message(caught(released_tta, 160)).startswith(
        "square_size 160: the release has sizes for 1728 and 1824"
    )
    (tmp_path / "mine.py").write_text("def mistake():\n    return int('x')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(messages, "PROJECTS", str(tmp_path))
    assert user_message(caught(importlib.import_module("mine").mistake)) is None


def test_passed_on_by_a_data_loader_worker() -> None:
    trace = "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
    for file, message in ((read_image.__code__.co_filename, "image a: bad"), ("/usr/x.py", None)):
        text = f'{trace}  File "{file}", line 3, in f\n    raise\nValueError: image a: bad\n'
        assert user_message(ValueError(text)) == message
