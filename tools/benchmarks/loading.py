"""Loading a released detector: memory and time, with a file of its size and layout that holds zeros."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from benchmarks.memory import peak_memory, report
from benchmarks.timing import Row, interleaved, ratio_row
from torch import Tensor, nn

NAME = "mask_rcnn_pe_spatial_g_coco"
SMALL = ("model.backbone.backbone.depth=2", "model.backbone.backbone.global_blocks=[1]")
_PAGE = 1024  # float32 numbers


def write_file(path: Path, changes: Sequence[str]) -> float:
    """A sparse file: it takes its size in memory when it is read, and nearly nothing on disk.

    Returns:
        MiB of its weights.
    """
    from pe_dense.config import instantiate, load_config
    from pe_dense.engine.build import without_pretrained
    from pe_dense.model_zoo import find_entry
    from pe_dense.modeling.detection import to_detectron2

    cfg = without_pretrained(load_config(find_entry(NAME).config_file, changes))
    with torch.device("meta"):
        shapes = to_detectron2(instantiate(cfg.model).state_dict())
    state = {name: torch.empty(value.shape) for name, value in shapes.items()}
    tables = {f"backbone.net.rope_glb.freqs_{function}": torch.empty(4096, 96) for function in ("cos", "sin")}
    with torch.serialization.skip_data():
        torch.save({"model": state | tables}, path)
    return sum(value.nbytes for value in state.values()) / 2**20


def load_model(path: str, changes: Sequence[str], read: bool) -> nn.Module:
    """The detector from the zoo; ``read`` visits every page of its weights."""
    from pe_dense.model_zoo import load

    model = load(NAME, path, "cpu", overrides=changes).model
    if read:
        visit(model.state_dict().values())
    return model


def load_plainly(path: str) -> dict[str, Tensor]:
    """What PyTorch alone does, without any model."""
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["model"]
    visit(state.values())
    return state


def visit(tensors: Iterable[Tensor]) -> None:
    """Read one number of every page."""
    for tensor in tensors:
        tensor.detach().flatten()[::_PAGE].sum()


def report_memory(path: str, *changes: str) -> None:
    """Body of the measured process: the model and all its weights read."""
    from pe_dense import model_zoo

    model_zoo.released_config(NAME, path, changes)  # imports what is needed
    report(lambda: load_model(path, changes, read=True))


def run(quick: bool) -> Iterator[Row]:
    """All rows; ``quick`` takes 2 of the 50 blocks."""
    changes = SMALL if quick else ()
    what = f"{NAME}{', 2 of 50 blocks' if quick else ''}"
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "detector.pth")
        size = write_file(Path(path), changes)
        load_model(path, changes, read=False)  # its first use, with the SHA-256
        beside, _ = peak_memory("loading", path, *changes)
        yield ratio_row(
            f"peak memory of loading {what}, every weight read", "size of the weights", beside, size, target=1 / 1.15,
            unit="MiB", note="pages of the file, which the system may drop and read again",
        )  # fmt: skip
        seconds = interleaved(
            {
                "mapped": lambda: load_model(path, changes, read=False),
                "read": lambda: load_model(path, changes, read=True),
                "plain": lambda: load_plainly(path),
            },
            repeats=3,
        )
        against = "torch.load of the file, no model"
        yield ratio_row(f"loading {what}", against, seconds["mapped"], seconds["plain"], target=1.0)
        yield ratio_row(
            f"loading {what}, every weight read", against, seconds["read"], seconds["plain"], target=1.0,
            note="from the system's page cache",
        )  # fmt: skip
