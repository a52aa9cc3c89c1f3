"""Fixtures shared by all tests."""

import logging
from pathlib import Path

import pytest
import torch

REFERENCE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    """Each xdist worker gets one thread: more would only fight over the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _log_level():
    """A training in the process before shows more of the log than is shown by default."""
    logging.getLogger("pe_dense").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference fixtures and small real data sets; tests that need it are skipped without it."""
    if not REFERENCE.is_dir():
        pytest.skip(f"reference data folder {REFERENCE} is not on this machine")
    return REFERENCE


@pytest.fixture(scope="session")
def fixtures(shared: Path) -> Path:
    """Outputs of independent implementations."""
    return shared / "reference" / "fixtures"


@pytest.fixture(scope="session")
def real_data(shared: Path) -> Path:
    """Small real data sets."""
    return shared / "data"
