"""docs/model_zoo.md lists what there is."""

import re

from pe_dense.model_zoo import ENTRIES, MIRROR, RECORD_SUFFIX

from .conftest import ROOT
from .test_entries import KEYS


def test_the_tables():
    text = (ROOT / "docs" / "model_zoo.md").read_text(encoding="utf-8")
    rows = [re.findall(r"[^|]+", line) for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip().strip("`") for cell in row] for row in rows]
    assert [row[0] for row in cells] == [entry.name for entry in ENTRIES] * 2
    numbers, files = cells[: len(ENTRIES)], cells[len(ENTRIES) :]
    assert [row[4] for row in numbers] == [f"{KEYS[entry.name][1]:,}" for entry in ENTRIES]
    assert [row[1:] for row in files] == [[entry.file, entry.config] for entry in ENTRIES]
    assert MIRROR in text
    assert f"FILE{RECORD_SUFFIX}" in text
