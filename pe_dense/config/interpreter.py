"""What a config file may have changed in the interpreter before it failed."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def unchanged_on_error() -> Iterator[None]:
    """Put the interpreter's state back if the block fails.

    That is: working folder, import path, environment, warning filters, and the generators of random numbers of Python
    and, where they are imported already, of NumPy and PyTorch, with PyTorch's default dtype and device.

    Modules that the block imported stay imported: extension modules cannot be imported twice, and a second copy of the
    others would have classes that differ from those that are in use.
    """
    restorers = [_shell(), _warnings(), _python_random()]
    if "numpy" in sys.modules:
        restorers.append(_numpy_random())
    if "torch" in sys.modules:
        restorers.append(_torch())
    try:
        yield
    except BaseException:
        for restore in restorers:
            restore()
        raise


def _shell() -> Callable[[], None]:
    folder, search_path, environment = os.getcwd(), list(sys.path), dict(os.environ)

    def restore() -> None:
        os.chdir(folder)
        sys.path[:] = search_path
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)

    return restore


def _warnings() -> Callable[[], None]:
    filters = list(warnings.filters)

    def restore() -> None:
        if warnings.filters != filters:
            warnings.resetwarnings()  # also makes Python forget which warnings it has shown under the other filters
            warnings.filters = filters

    return restore


def _python_random() -> Callable[[], None]:
    state = random.getstate()
    return lambda: random.setstate(state)


def _numpy_random() -> Callable[[], None]:
    import numpy as np

    state = np.random.get_state()
    return lambda: np.random.set_state(state)


def _torch() -> Callable[[], None]:
    import torch

    dtype, device, state = torch.get_default_dtype(), torch.get_default_device(), torch.get_rng_state()
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()
    cuda_states = torch.cuda.get_rng_state_all() if in_use else []

    def restore() -> None:
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            # None and not the CPU: an explicit default device costs time in every call of PyTorch
            torch.set_default_device(None if device.type == "cpu" else device)
        torch.set_rng_state(state)
        torch.cuda.set_rng_state_all(cuda_states)

    return restore
