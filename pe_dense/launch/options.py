"""What a job asks of the cluster."""

from __future__ import annotations

import argparse
import re
import signal
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from pe_dense.config.errors import did_you_mean, listing

_MEM = re.compile(r"\d+[KMGT]?")
_KINDS = {int: "a whole number", str: "text", list: "a list of texts", dict: "a mapping"}


class OptionError(ValueError):
    """An option of a job is unknown or has an impossible value."""


def _option(help: str, default: Any = None) -> Any:
    """A dataclass field with its help text, shown by ``tools/submit.py --help``."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class JobOptions:
    """Options of a job: keys of the cluster file, and flags of ``tools/submit.py``.

    Raises:
        OptionError: for a value of the wrong type or outside its range, naming the key.
    """

    nodes: int = _option("number of nodes", 1)
    gpus_per_node: int = _option("GPUs of each node, one process each; 0 = processes on the CPU", 0)
    tasks_per_node: int | None = _option("processes of each node; default: one per GPU, or one")
    cpus_per_task: int | None = _option("CPU cores of each process (data-loader workers included)")
    mem: str | None = _option("memory of each node, such as 64G; 0 = all")
    timeout_min: int = _option("time limit in minutes; a job that reaches it is requeued and continues", 1440)
    partition: str | None = _option("partition (queue)")
    account: str | None = _option("account to charge")
    qos: str | None = _option("quality of service")
    constraint: str | None = _option("features that the nodes must have")
    nodelist: str | None = _option("nodes that must be used")
    exclude: str | None = _option("nodes that must not be used")
    reservation: str | None = _option("reservation to use")
    dependency: str | None = _option("such as afterok:1234")
    comment: str | None = _option("comment of the job")
    job_name: str = _option("name of the job in the queue", "pe_dense")
    array_parallelism: int = _option("runs of an array that may run at the same time", 256)
    signal_delay_s: int = _option("seconds before the time limit at which the job is told to save itself", 120)
    preempt_signal: str = _option("signal after which the job saves itself and requeues: USR2 or TERM", "USR2")
    rendezvous_timeout_s: int = _option("seconds that processes wait for each other at the start", 600)
    collective_timeout_s: int = _option("seconds after which a collective that does not end is an error", 1800)
    network_interface: str | None = _option("interface of gloo and NCCL, such as ib0; default: their own choice")
    python: str | None = _option("command that starts Python on the nodes; default: the interpreter that submits")
    # only in the file: ``setup`` are shell lines that run before the job (module load ...), ``sbatch`` other options of
    # sbatch by their long names without dashes (true = a flag)
    setup: list[str] = field(default_factory=list)
    env: dict[str, Any] = field(default_factory=dict)
    srun_args: list[str] = field(default_factory=list)
    sbatch: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            _check_type(key, value)
        for key in ("nodes", "tasks_per_node", "cpus_per_task", "timeout_min", "array_parallelism",
                    "rendezvous_timeout_s", "collective_timeout_s"):  # fmt: skip
            value = getattr(self, key)
            if value is not None and value < 1:
                raise OptionError(f"{key} must be at least 1, it is {value}")
        for key in ("gpus_per_node", "signal_delay_s"):
            if getattr(self, key) < 0:
                raise OptionError(f"{key} must not be negative, it is {getattr(self, key)}")
        if self.mem is not None and not _MEM.fullmatch(self.mem):
            raise OptionError(f'mem must be a number with K, M, G or T behind it, such as "64G"; it is "{self.mem}"')
        if self.preempt_signal not in ("USR2", "TERM"):
            raise OptionError(f'preempt_signal must be "USR2" or "TERM", it is "{self.preempt_signal}"')
        if self.signal_delay_s >= 60 * self.timeout_min:
            raise OptionError(
                f"signal_delay_s is {self.signal_delay_s} but the time limit is only {self.timeout_min} min: the job "
                f"would have to stop before it starts; lower signal_delay_s or raise timeout_min"
            )
        if self.gpus_per_node and self.tasks_per_node not in (None, self.gpus_per_node):
            raise OptionError(
                f"tasks_per_node is {self.tasks_per_node} but gpus_per_node is {self.gpus_per_node}: every process "
                f"has one GPU, leave tasks_per_node out"
            )

    @property
    def tasks(self) -> int:
        """Processes of each node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def world_size(self) -> int:
        """Processes of the job."""
        return self.nodes * self.tasks

    @property
    def signal_number(self) -> int:
        """The number of ``preempt_signal``."""
        return signal.Signals[f"SIG{self.preempt_signal}"].value


def check_names(options: Mapping[str, Any], origin: str) -> None:
    """Every key must be a field of :class:`JobOptions`.

    Raises:
        OptionError: with the closest name, or all of them.
    """
    names = [f.name for f in fields(JobOptions)]
    for key in options:
        if key not in names:
            hint = did_you_mean(str(key), names) or f"; options are {listing(names)}"
            raise OptionError(f"{origin}: there is no option '{key}'{hint}")


def add_flags(parser: argparse._ArgumentGroup) -> None:
    """One flag for every option that is a single value; flags that are not given do not appear in the namespace."""
    hints = get_type_hints(JobOptions)
    for option in fields(JobOptions):
        kinds = _kinds(hints[option.name])
        if kinds <= {int, str, type(None)}:
            shown = "" if option.default is None else f" (default: {option.default})"
            parser.add_argument(
                f"--{option.name.replace('_', '-')}", type=int if int in kinds else str, default=argparse.SUPPRESS,
                metavar="N" if int in kinds else "X", help=option.metadata["help"] + shown,
            )  # fmt: skip


def _kinds(hint: Any) -> set[Any]:
    """The plain types of an annotation: ``int | None`` -> {int, NoneType}, ``list[str]`` -> {list}."""
    if get_origin(hint) in (Union, types.UnionType):
        return set(get_args(hint))
    return {get_origin(hint) or hint}


def _check_type(key: str, value: Any) -> None:
    kinds = _kinds(get_type_hints(JobOptions)[key])
    right = type(value) in kinds and not (list in kinds and any(type(item) is not str for item in value))
    if not right:
        expected = " or ".join(_KINDS[kind] for kind in kinds if kind in _KINDS)
        quote = '; put it in quotes, such as "64G"' if key == "mem" else ""
        raise OptionError(f"{key} must be {expected}, it is {value!r}{quote}")
