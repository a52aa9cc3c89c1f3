"""Moving a batch between processes as one block of memory."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 64


class PackedBatch:
    """Any picklable object whose tensors lie in one buffer.

    A batch has hundreds of tensors; sent one by one, each would take a file descriptor and a system call.

    Args:
        batch: the object; its tensors must be on the CPU.
        shared: put the buffer into shared memory, so that another process receives it without a copy.
    """

    def __init__(self, batch: Any, shared: bool = False) -> None:
        tensors: list[Tensor] = []
        text = io.BytesIO()
        _Pickler(text, tensors).dump(batch)
        self._text = text.getvalue()
        self._layout: list[tuple[int, torch.Size, torch.dtype]] = []
        size = 0
        for tensor in tensors:
            self._layout.append((size, tensor.shape, tensor.dtype))
            size += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        self._buffer = torch.empty(0, dtype=torch.uint8)
        if shared:
            self._buffer.set_(torch.UntypedStorage._new_shared(size))
        else:
            self._buffer = torch.empty(size, dtype=torch.uint8)
        for place, tensor in zip(self._views(), tensors):
            place.copy_(tensor)

    def pin_memory(self) -> PackedBatch:
        """Move the buffer to page-locked memory (called by the data loader's pinning thread)."""
        self._buffer = self._buffer.pin_memory()
        return self

    def unpack(self) -> Any:
        """The batch; its tensors are parts of the buffer."""
        return _Unpickler(io.BytesIO(self._text), self._views()).load()

    def _views(self) -> list[Tensor]:
        views = []
        for start, shape, dtype in self._layout:
            stop = start + shape.numel() * dtype.itemsize
            views.append(self._buffer[start:stop].view(dtype).view(shape))
        return views


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._tensors = tensors

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, Tensor):
            return None
        self._tensors.append(obj)
        return len(self._tensors) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, pid: int) -> Tensor:
        return self._tensors[pid]
