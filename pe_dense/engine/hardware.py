"""GPUs in their makers' numbers, and the cluster that a run is planned for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_GB = 10**9
_TERA = 10**12


@dataclass(frozen=True)
class Gpu:
    """A device in the makers' numbers, and the network that is assumed around it.

    Attributes:
        title: full name.
        memory: bytes.
        bf16: dense FLOP/s of the matrix units with bfloat16, None without such units.
        fp32: FLOP/s in float32 (PyTorch leaves TF32 off).
        link: bytes/s each way between the GPUs of a node (NVLink, else PCIe 4.0 x16).
        network: bytes/s each way and GPU between nodes, assumed.
        source: data sheet.
    """

    title: str
    memory: float
    bf16: float | None
    fp32: float
    link: float
    network: float
    source: str


def _gpu(title: str, memory: float, bf16: float | None, fp32: float, link: float, gbit: float, source: str) -> Gpu:
    """From GB, TFLOP/s, TFLOP/s, GB/s each way, Gbit/s, and NVIDIA's page."""
    peak = None if bf16 is None else bf16 * _TERA
    page = f"https://www.nvidia.com/en-us/{source}/"
    return Gpu(title, memory * _GB, peak, fp32 * _TERA, link * _GB, gbit * _GB / 8, page)


GPUS: Mapping[str, Gpu] = {
    "h200": _gpu("H200 SXM 141 GB", 141, 989, 67, 450, 400, "data-center/h200"),
    "h100": _gpu("H100 SXM 80 GB", 80, 989, 67, 450, 400, "data-center/h100"),
    "a100-80": _gpu("A100 SXM 80 GB", 80, 312, 19.5, 300, 200, "data-center/a100"),
    "a100-40": _gpu("A100 SXM 40 GB", 40, 312, 19.5, 300, 200, "data-center/a100"),
    "l40s": _gpu("L40S 48 GB", 48, 362, 91.6, 32, 100, "data-center/l40s"),
    "v100": _gpu("V100 SXM 32 GB", 32, None, 15.7, 150, 50, "data-center/v100"),
    "rtx4090": _gpu("RTX 4090 24 GB", 24, 165, 82.6, 32, 25, "geforce/graphics-cards/40-series/rtx-4090"),
}


def find_gpu(name: str) -> Gpu:
    """One of :data:`GPUS`.

    Raises:
        ValueError: for another name.
    """
    if name not in GPUS:
        raise ValueError(f'GPU "{name}" is not known: use one of {", ".join(GPUS)}')
    return GPUS[name]


@dataclass(frozen=True)
class Setup:
    """Where the run takes place, and what is assumed about it.

    Attributes:
        gpu: of each process.
        nodes, per_node: machines, and GPUs of each.
        utilization: share of the GPU's peak that the arithmetic reaches.
        reserve: bytes for the CUDA context, NCCL, kernels' workspaces and fragmentation.

    Raises:
        ValueError: for a value outside its range.
    """

    gpu: Gpu
    nodes: int = 1
    per_node: int = 1
    utilization: float = 0.35
    reserve: float = 3 * 2**30

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.per_node < 1:
            raise ValueError(f"{self.nodes} nodes of {self.per_node} GPUs: both must be at least 1")
        if not 0 < self.utilization <= 1:
            raise ValueError(f"the utilization must lie in (0, 1], it is {self.utilization}")

    @property
    def world(self) -> int:
        """Processes, one per GPU."""
        return self.nodes * self.per_node

    @property
    def bandwidth(self) -> float:
        """Bytes/s each way and GPU on the slowest way between two of them."""
        return self.gpu.network if self.nodes > 1 else self.gpu.link

    def peak(self, precision: str) -> float:
        """FLOP/s.

        Raises:
            ValueError: if the GPU cannot compute in bfloat16.
        """
        peak = self.gpu.bf16 if precision == "bf16" else self.gpu.fp32
        if peak is None:
            raise ValueError(f"{self.gpu.title} has no bfloat16 units: set train.precision=fp32, or take another GPU")
        return peak
