"""Options of a job and the user's file of clusters."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from pe_dense.launch.cluster_file import cluster_file, load_options
from pe_dense.launch.options import JobOptions, OptionError, add_flags

FILE = """\
defaults: {account: vision, timeout_min: 600, env: {A: 1, B: 2}}
clusters:
  alpha: {partition: gpu, gpus_per_node: 8, env: {B: 3}, setup: [module load cuda]}
  beta:
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(FILE)
    return path


def test_precedence(file: Path) -> None:
    options = load_options("alpha", {"timeout_min": 30}, file)
    assert (options.account, options.partition, options.timeout_min, options.nodes) == ("vision", "gpu", 30, 1)
    assert options.env == {"A": 1, "B": 3}
    assert (options.tasks, options.world_size) == (8, 8)
    assert load_options("beta", {}, file).partition is None
    assert load_options(None, {}, file).account == "vision"
    assert load_options(None, {"nodes": 2}, file.with_name("absent.yaml")).world_size == 2


def test_place_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert cluster_file() == tmp_path / "pe_dense" / "cluster.yaml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert cluster_file() == Path.home() / ".config" / "pe_dense" / "cluster.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "clusters: {a: {partion: x}}",
            r"yaml: clusters.a: there is no option 'partion'; did you mean 'partition'",
        ),
        ("defaults: {zzz: x}", "there is no option 'zzz'; options are nodes, gpus_per_node"),
        ("default: {}", "there is no section 'default'; did you mean 'defaults'"),
        ("defaults: [a]", "'defaults' must be a mapping of options, it is list"),
        ("clusters: {a: 3}", "'clusters.a' must be a mapping of options, it is int"),
        ("- a", "must be a mapping with the sections defaults, clusters"),
        ("defaults: {nodes: '8'}", "cluster.yaml: nodes must be a whole number, it is '8'"),
        ("defaults: {mem: 64}", 'mem must be text, it is 64; put it in quotes, such as "64G"'),
        ("defaults: {a: [", "is not valid YAML: while parsing"),
    ],
)
def test_bad_file(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(OptionError, match=message):
        load_options("a" if "clusters" in text else None, {}, file)


def test_unknown_cluster(file: Path) -> None:
    with pytest.raises(OptionError, match=r"cluster.yaml has no cluster 'alhpa'; did you mean 'alpha'"):
        load_options("alhpa", {}, file)
    with pytest.raises(OptionError, match="has no cluster 'x'; it has alpha, beta"):
        load_options("x", {}, file)
    with pytest.raises(OptionError, match=r"cluster 'alpha' is not known: there is no file .*absent.yaml"):
        load_options("alpha", {}, file.with_name("absent.yaml"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 0}, "nodes must be at least 1, it is 0"),
        ({"gpus_per_node": -1}, "gpus_per_node must not be negative"),
        ({"nodes": True}, "nodes must be a whole number, it is True"),
        ({"mem": "64 GB"}, 'mem must be a number with K, M, G or T behind it, such as "64G"; it is "64 GB"'),
        ({"preempt_signal": "USR1"}, 'preempt_signal must be "USR2" or "TERM", it is "USR1"'),
        ({"timeout_min": 1}, "signal_delay_s is 120 but the time limit is only 1 min"),
        ({"gpus_per_node": 4, "tasks_per_node": 2}, "every process has one GPU, leave tasks_per_node out"),
        ({"setup": [1]}, "setup must be a list of texts"),
    ],
)
def test_impossible_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        JobOptions(**options)


def test_flags() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser.add_argument_group("options"))
    given = vars(parser.parse_args(["--nodes", "2", "--mem", "64G", "--timeout-min", "90"]))
    assert given == {"nodes": 2, "mem": "64G", "timeout_min": 90}
    assert "--setup" not in parser.format_help()
    assert "(default: 1440)" in parser.format_help()
