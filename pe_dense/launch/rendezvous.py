"""How the processes of a job find each other, and what they say when they do not."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.distributed as dist

import pe_dense
from pe_dense.launch.options import JobOptions
from pe_dense.launch.snapshot import ROOT

_SLICE = datetime.timedelta(seconds=2)
_READ_SECONDS = 5.0


class RendezvousError(ValueError):
    """The processes of a job cannot work together; the message names hosts."""


@dataclass(frozen=True)
class Place:
    """Which process this is.

    Attributes:
        job_id: of the job.
        rank: among all.
        world_size: number of all.
        hosts: node names; each has the same number of processes, in rank order.
        master: host of rank 0.
        port: where rank 0 listens.
    """

    job_id: str
    rank: int
    world_size: int
    hosts: tuple[str, ...]
    master: str
    port: int

    def host_of(self, rank: int) -> str:
        """Node name of a rank."""
        return self.hosts[rank * len(self.hosts) // self.world_size]


@dataclass(frozen=True)
class Member:
    """What a process tells about itself."""

    rank: int
    host: str
    code: str
    versions: dict[str, str]


def this_member(rank: int) -> Member:
    """Of this process."""
    versions = {"torch": str(torch.__version__), "pe_dense": pe_dense.__version__}
    return Member(rank, socket.gethostname(), str(ROOT), versions)


def meet(place: Place, options: JobOptions, check: Callable[[], str], member: Member | None = None) -> dist.Store:
    """Wait until every process is here, and agree that the run may start.

    Args:
        place: of this process.
        options: time-out and network interface.
        check: asked in rank 0 once all are here; a reason not to start, or empty.
        member: of this process; None = :func:`this_member`.

    Returns:
        The store that the process group is to be built on.

    Raises:
        RendezvousError: in every process, with rank 0's reason.
    """
    choose_interface(options.network_interface)
    member = member or this_member(place.rank)
    store = _connect(place, options.rendezvous_timeout_s)
    store.set(f"member/{place.rank}", json.dumps(asdict(member)))
    if place.rank == 0:
        reason = _missing(store, place, options.rendezvous_timeout_s) or _differing(store, place) or check()
        store.set("verdict", reason or "ok")
        wait_for_all(store, place, "read", _READ_SECONDS)
    else:
        try:
            _wait(store, ["verdict"], options.rendezvous_timeout_s + 60)
            reason = store.get("verdict").decode().removesuffix("ok")
            store.set(f"read/{place.rank}", "1")
        except RuntimeError as error:
            raise RendezvousError(
                f"rank {place.rank} on {member.host} lost rank 0 on {place.master} before the run started; the log of "
                f"rank 0 tells why"
            ) from error
    if reason:
        raise RendezvousError(reason)
    return store


def group_backend(gpus: bool) -> str:
    """Of a process group: gloo, on GPUs beside NCCL, so that flags and Python objects do not stop the GPU."""
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def start_group(store: dist.Store, place: Place, options: JobOptions) -> None:
    """The process group of the run."""
    dist.init_process_group(
        group_backend(gpus=options.gpus_per_node > 0), store=store, rank=place.rank,
        world_size=place.world_size, timeout=datetime.timedelta(seconds=options.collective_timeout_s),
    )  # fmt: skip


def wait_for_all(store: dist.Store, place: Place, name: str, seconds: float) -> None:
    """Every process waits until all are here, but not longer than ``seconds`` nor after rank 0 has gone."""
    with contextlib.suppress(RuntimeError):
        store.set(f"{name}/{place.rank}", "1")
        keys = [f"{name}/{rank}" for rank in range(place.world_size)]
        _wait(store, keys, seconds)


def choose_interface(name: str | None) -> None:
    """Make gloo and NCCL use a network interface of this host.

    Raises:
        RendezvousError: if the host does not have it.
    """
    if name is None:
        return
    known = [interface for _, interface in socket.if_nameindex()]
    if name not in known:
        raise RendezvousError(
            f"{socket.gethostname()} has no network interface '{name}' (it has {', '.join(known)}): "
            f"set network_interface to one that every node has"
        )
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = name


def _connect(place: Place, seconds: int) -> dist.Store:
    end = time.monotonic() + seconds
    while True:
        try:
            store = dist.TCPStore(
                place.master, place.port, is_master=place.rank == 0, timeout=_SLICE, wait_for_workers=False
            )
            store.set_timeout(datetime.timedelta(seconds=seconds))
            return dist.PrefixStore(place.job_id, store)  # two jobs on a node may have got the same port
        except RuntimeError as error:
            if place.rank != 0 and time.monotonic() < end:
                continue
            what = "cannot listen on" if place.rank == 0 else f"did not within {seconds} s reach rank 0 on"
            raise RendezvousError(
                f"rank {place.rank} on {socket.gethostname()} {what} {place.master}:{place.port} "
                f"({str(error).splitlines()[0]}): check that the nodes reach each other under these names"
            ) from error


def _wait(store: dist.Store, keys: list[str], seconds: float) -> None:
    """``store.wait`` that lets Python see signals meanwhile."""
    end = time.monotonic() + seconds
    while True:
        try:
            return store.wait(keys, _SLICE)
        except dist.DistStoreError:
            if time.monotonic() >= end:
                raise


def _missing(store: dist.Store, place: Place, seconds: int) -> str:
    keys = [f"member/{rank}" for rank in range(place.world_size)]
    try:
        _wait(store, keys, seconds)
        return ""
    except RuntimeError:
        late = [rank for rank, key in enumerate(keys) if not store.check([key])]
        hosts = sorted({place.host_of(rank) for rank in late})
        return (
            f"{len(late)} of {place.world_size} processes did not reach rank 0 on {place.master}:{place.port} within "
            f"{seconds} s: ranks {_ranges(late)} on {', '.join(hosts)}; see their logs and these nodes, and keep "
            f"a bad node out with --exclude"
        )


def _differing(store: dist.Store, place: Place) -> str:
    """Code and versions must be the same everywhere: otherwise processes compute different things, or hang."""
    members = [Member(**json.loads(store.get(f"member/{rank}"))) for rank in range(place.world_size)]
    groups: dict[str, list[str]] = {}
    for member in members:
        versions = ", ".join(f"{name} {version}" for name, version in sorted(member.versions.items()))
        hosts = groups.setdefault(f"{versions} (code in {member.code})", [])
        if member.host not in hosts:
            hosts.append(member.host)
    if len(groups) == 1:
        return ""
    told = "; ".join(f"{', '.join(hosts)}: {what}" for what, hosts in groups.items())
    return f"the nodes do not run the same software: {told}"


def _ranges(numbers: Sequence[int]) -> str:
    """``0-2, 5``"""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in parts)
