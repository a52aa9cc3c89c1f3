"""A private, throw-away SLURM cluster on this machine.

Every node is a slurmd in a network and host-name namespace of its own, so that processes on two nodes really talk over
an interface. All daemons, and so all jobs, live in one process namespace: when its first process ends, the kernel ends
everything in it. Nothing outside one folder in /tmp is touched. Needs Debian's slurmctld, slurmd, slurm-client, munge,
iproute2 and util-linux, and root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

BINARIES = (
    "slurmctld",
    "slurmd",
    "munged",
    "sbatch",
    "srun",
    "scontrol",
    "scancel",
    "squeue",
    "sinfo",
    "ip",
    "nsenter",
)
PACKAGES = "slurmctld slurmd slurm-client munge iproute2 util-linux"
SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
CONTROLLER = "192.0.2.1"  # a network for documentation: nobody's
OUTER = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")

CONF = """\
ClusterName=pedense
SlurmctldHost={host}({controller})
SlurmctldPort={port}
# submitit makes the rendezvous port from the job's number: two clusters must not count alike
FirstJobId={first}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it starts again; less than 5 is refused
AuthInfo=socket={root}/munge.sock,cred_expire=5
MpiDefault=none
# neither cgroups nor a service manager: works in any container
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=0
KillWait=2
MinJobAge=600
UnkillableStepTimeout=120
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MailProg=/bin/true
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=120 State=UP PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes=ALL MaxTime=120 State=UP PriorityTier=10 PreemptMode=OFF
"""

INIT = """\
#!/bin/bash
# the first process of the cluster's own process namespace
export PATH={path} SLURM_CONF={root}/slurm.conf
mount --bind {root}/hosts /etc/hosts || exit 70
ip link set lo up; ip link add br0 type bridge; ip addr add {controller}/24 dev br0; ip link set br0 up
ds=()
stop() {{ kill -TERM "${{ds[@]}}" $ctl 2>/dev/null; wait "${{ds[@]}}" $ctl; kill -TERM $mu; wait $mu; exit 0; }}
trap stop TERM INT
munged -F --key-file={root}/munge.key --socket={root}/munge.sock --pid-file={root}/munged.pid \\
    --log-file={root}/log/munged.log --seed-file={root}/munge.seed >{root}/log/munged.out 2>&1 & mu=$!
for i in $(seq 100); do [ -S {root}/munge.sock ] && break; sleep 0.05; done
slurmctld -D >{root}/log/slurmctld.out 2>&1 & ctl=$!
{nodes}
while :; do wait -n; sleep 0.1; done
"""

NODE = """\
unshare --net --uts bash -c 'hostname {name}; ip link set lo up
    until ip addr show dev eth0 2>/dev/null | grep -q {address}; do sleep 0.02; done
    exec slurmd -D -N {name}' >{root}/log/slurmd.{name}.out 2>&1 & ds+=($!)
until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/1/ns/net)" ]; do sleep 0.02; done
ip link add v{index} type veth peer name eth0 netns $!; ip link set v{index} master br0 up
nsenter --net=/proc/$!/ns/net sh -c 'ip link set eth0 up; ip addr add {address}/24 dev eth0'
"""

CLIENT = """\
#!/bin/sh
[ -n "$SLURM_JOB_ID" ] && exec /usr/bin/{name} "$@"  # a job is inside the cluster's network already
exec nsenter --net=/proc/$(cat {root}/init.pid)/ns/net /usr/bin/{name} "$@"
"""


def obstacles() -> list[str]:
    """Why there can be no cluster on this machine; empty if there can."""
    why = [f"{name} is not installed" for name in BINARIES if shutil.which(name, path=SEARCH_PATH) is None]
    if why:
        why.append(f"apt-get install --no-install-recommends {PACKAGES}")
    if os.geteuid() != 0:
        why.append("not root")
    elif not why:
        probe = [
            "unshare",
            "--mount",
            "--pid",
            "--net",
            "--fork",
            "--mount-proc",
            "ip",
            "link",
            "add",
            "type",
            "bridge",
        ]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            why.append("namespaces are not allowed here")
    return why


def _free_ports(count: int) -> list[int]:
    """Below the kernel's own choice of ports and submitit's (20000-60000)."""
    ports: list[int] = []
    for port in random.sample(range(10000, 20000), 500):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free ports")


def _die_with_parent() -> None:
    os.setpgid(0, 0)  # Ctrl-C must reach the tests first
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Cluster:
    """Nodes n1, n2, ... of 4 pretended cores each. While it is started, PATH and SLURM_CONF of this process lead to it.

    Start it in the main thread: the cluster ends with the thread that started it.
    """

    def __init__(self, nodes: int = 2) -> None:
        self.nodes = {f"n{i}": f"192.0.2.{10 + i}" for i in range(1, nodes + 1)}
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = dict(os.environ)

    def start(self, timeout: float = 60.0) -> Cluster:
        # in /tmp: munged wants every folder above its socket open to all, and a short path
        self.root = Path(tempfile.mkdtemp(prefix="pd-slurm-", dir="/tmp"))
        try:
            self._write()
            self._start(time.monotonic() + timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, end: float) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(OUTER)}
        with open(self.root / "log" / "init.out", "ab") as out:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "--kill-child=KILL",
                 "bash", str(self.root / "init.sh")],
                env=clean, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", preexec_fn=_die_with_parent,
            )  # fmt: skip
        while self._init_pid() is None and self.process.poll() is None:
            time.sleep(0.01)
        (self.root / "init.pid").write_text(str(self._init_pid()))
        self._environment = dict(os.environ)
        for name in [name for name in os.environ if name.startswith(OUTER)]:
            del os.environ[name]
        os.environ.update(SLURM_CONF=str(self.root / "slurm.conf"), PATH=f"{self.root}/bin:{os.environ['PATH']}")
        while time.monotonic() < end and self.process.poll() is None:
            shown = subprocess.run(["sinfo", "-h", "-N", "-p", "debug", "-o", "%N %t"], capture_output=True, text=True)
            if sorted(shown.stdout.split("\n")[:-1]) == [f"{name} idle" for name in self.nodes]:
                return
            time.sleep(0.1)
        raise RuntimeError(f"the cluster did not start\n{self.logs()}")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                self.cancel_all()
            if init := self._init_pid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(init, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()  # and with it, everything in the namespace
                self.process.wait(10)
        os.environ.clear()
        os.environ.update(self._environment)
        shutil.rmtree(self.root, ignore_errors=True)

    def cancel_all(self) -> None:
        """End all jobs, at once and for good."""
        subprocess.run(["scancel", "--full", "--signal=KILL", "-u", "root"], timeout=5, capture_output=True)
        subprocess.run(["scancel", "-u", "root"], timeout=5, capture_output=True)

    def logs(self, tail: int = 3000) -> str:
        """The ends of the daemons' logs."""
        files = sorted((self.root / "log").glob("*"))
        return "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-tail:]}" for p in files if p.stat().st_size)

    def _init_pid(self) -> int | None:
        """Number, seen from outside, of the namespace's first process."""
        assert self.process is not None
        try:
            return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])
        except (OSError, IndexError):
            return None

    def _write(self) -> None:
        root, host = self.root, socket.gethostname().split(".")[0]
        root.chmod(0o755)
        for name in ("log", "state", "bin", *(f"spool/{node}" for node in self.nodes)):
            (root / name).mkdir(parents=True)
        key = root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        port, *ports = _free_ports(1 + len(self.nodes))
        lines = [
            f"NodeName={name} NodeHostname={name} NodeAddr={address} Port={p} CPUs=4 RealMemory=16000 State=UNKNOWN"
            for (name, address), p in zip(self.nodes.items(), ports)
        ]
        (root / "slurm.conf").write_text(CONF.format(
            root=root, host=host, controller=CONTROLLER, port=port, first=random.randrange(1000, 900000),
            nodes="\n".join(lines),
        ))  # fmt: skip
        hosts = ["127.0.0.1 localhost", f"{CONTROLLER} {host}", *(f"{a} {n}" for n, a in self.nodes.items())]
        (root / "hosts").write_text("\n".join(hosts) + "\n")
        for name in ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct"):
            (root / "bin" / name).write_text(CLIENT.format(name=name, root=root))
            (root / "bin" / name).chmod(0o755)
        starts = [
            NODE.format(name=name, address=address, root=root, index=index)
            for index, (name, address) in enumerate(self.nodes.items())
        ]
        (root / "init.sh").write_text(
            INIT.format(path=SEARCH_PATH, root=root, controller=CONTROLLER, nodes="".join(starts))
        )
