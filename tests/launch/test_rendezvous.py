"""Processes that find each other, or say why not. Here they are threads."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pe_dense.launch.local import free_port
from pe_dense.launch.options import JobOptions
from pe_dense.launch.rendezvous import Member, Place, RendezvousError, choose_interface, meet, wait_for_all


def all_meet(ranks: list[int], check: Callable[[], str] = lambda: "", versions: tuple[str, str] = ("1", "1")) -> list:
    """What each of two processes gets: None, or its error."""
    port = free_port()

    def one(rank: int) -> BaseException | None:
        place = Place("7", rank, 2, ("n1", "n2"), "127.0.0.1", port)
        member = Member(rank, f"n{rank + 1}", "/run/snapshot", {"torch": versions[rank]})
        try:
            store = meet(place, JobOptions(rendezvous_timeout_s=3), check, member)
            wait_for_all(store, place, "end", 10)
        except RendezvousError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, ranks))


def test_all_here() -> None:
    assert all_meet([0, 1]) == [None, None]


def test_different_software() -> None:
    errors = all_meet([0, 1], versions=("2.6", "2.7"))
    expected = "the nodes do not run the same software: n1: torch 2.6 (code in /run/snapshot); n2: torch 2.7"
    assert [str(error).startswith(expected) for error in errors] == [True, True]


def test_the_reason_of_rank_0_reaches_all() -> None:
    assert [str(error) for error in all_meet([0, 1], lambda: "not now")] == ["not now", "not now"]


def test_one_does_not_come() -> None:
    started = time.monotonic()
    [error] = all_meet([0])
    assert "1 of 2 processes did not reach rank 0 on 127.0.0.1" in str(error)
    assert "within 3 s: ranks 1 on n2; see their logs" in str(error)
    [error] = all_meet([1])
    assert f"rank 1 on {socket.gethostname()} did not within 3 s reach rank 0 on 127.0.0.1" in str(error)
    assert time.monotonic() - started < 60


def test_interface(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "before")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "before")
    choose_interface("lo")
    import os

    assert os.environ["GLOO_SOCKET_IFNAME"] == os.environ["NCCL_SOCKET_IFNAME"] == "lo"
    with pytest.raises(RendezvousError, match=r"has no network interface 'ib9' \(it has lo.*set network_interface"):
        choose_interface("ib9")
