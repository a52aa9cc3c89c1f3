"""A config file that fails takes back what it changed."""

import os
import random
import sys
import warnings

import numpy as np
import pytest
import torch

from pe_dense.config import ConfigError, load_config

CHANGES = """
import os, random, sys, warnings
import numpy, torch
import a_helper_of_the_config

os.environ["PE_DENSE_TEST_NEW"] = "1"
os.environ["PE_DENSE_TEST_OLD"] = "changed"
del os.environ["PE_DENSE_TEST_GONE"]
os.chdir("/")
sys.path.insert(0, "/nowhere")
warnings.simplefilter("error")
random.seed(5), numpy.random.seed(5), torch.manual_seed(5)
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
"""


def state():
    """All that is put back, in a form that can be compared."""
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "import path": list(sys.path),
        "filters": list(warnings.filters),
        "random": random.getstate(),
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "filled": torch.zeros(1).device,
    }


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("PE_DENSE_TEST_OLD", "old")
    monkeypatch.setenv("PE_DENSE_TEST_GONE", "old")
    monkeypatch.delenv("PE_DENSE_TEST_NEW", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a_helper_of_the_config.py").write_text("x = 1\n")
    yield tmp_path / "config.py"
    sys.modules.pop("a_helper_of_the_config", None)


def test_everything_is_put_back(config):
    config.write_text(CHANGES + "1 / 0\n")
    before = state()
    with pytest.raises(ConfigError, match=r"config\.py:15: ZeroDivisionError"):
        load_config(config)
    assert state() == before
    assert "a_helper_of_the_config" in sys.modules, "a module stays imported, as with any import that succeeded"


def test_a_config_that_loads_may_change_things(config):
    config.write_text("import os\nos.environ['PE_DENSE_TEST_OLD'] = 'changed'\na = 1\n")
    load_config(config)
    assert os.environ["PE_DENSE_TEST_OLD"] == "changed"
