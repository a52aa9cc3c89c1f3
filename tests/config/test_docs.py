"""Runs every Python block of docs/configs.md and compares what it prints with the text block that follows it."""

import contextlib
import io
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "configs.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.py)\n")


def test_blocks_of_the_page(tmp_path, monkeypatch):
    """A block that starts with a file name is written to that file; the others share one namespace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace: dict[str, object] = {}
    printed = ""
    kinds = []
    for kind, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        kinds.append(kind)
        file = FILE.match(code)
        if kind == "python" and file:
            path = tmp_path / file.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
        elif kind == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(code, str(PAGE), "exec"), namespace)
            printed = output.getvalue()
        elif kind == "text":
            assert printed.rstrip() == code.rstrip()
    sys.modules.pop("my_functions", None)
    assert kinds.count("python") >= 10
    assert kinds.count("text") >= 7


def test_links_within_the_page_exist():
    text = PAGE.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert links
    assert set(links) <= headings
