"""What every process of a submitted job runs."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import submitit
import torch
import torch.distributed as dist

from pe_dense.config import load_config
from pe_dense.engine import RunInterrupted, evaluate, train
from pe_dense.engine.heartbeat import last_signs, read_heartbeats
from pe_dense.engine.run_log import setup_logging
from pe_dense.launch.attempts import begin, finish, read_attempts
from pe_dense.launch.job_files import JobFileError, JobFiles
from pe_dense.launch.messages import user_message
from pe_dense.launch.options import JobOptions
from pe_dense.launch.rendezvous import Place, RendezvousError, meet, start_group, wait_for_all
from pe_dense.launch.slurm_commands import is_losing_its_nodes

logger = logging.getLogger(__name__)

LOST_PEERS = 75
"""Exit code of a process that only failed because another one did; the job's script requeues then."""
EARLY_ENDS = "early_ends.txt"
"""After the job's id, a file beside its logs: the exit statuses of starts that ended before all processes had met."""

_LEAVE_SECONDS = 60.0
_SETTLE_SECONDS = 5.0


class ClusterRun(submitit.helpers.Checkpointable):
    """Trains or evaluates in a job, and continues when the job is started again.

    After the pre-emption signal (time limit, pre-emption) all processes save together, rank 0 lets submitit requeue the
    job, and nobody leaves a result. After another SIGTERM they save and leave: the job was cancelled, or SLURM requeues
    it by itself. Within the grace time of a pre-emption SLURM would not, and rank 0 does it.

    Args:
        run_dir: absolute.
        options: of the job.
        working_dir: to which relative paths in the config are relative.
        evaluate_only: evaluate instead of train.
        checkpoint: which one to evaluate.
    """

    def __init__(
        self,
        run_dir: Path,
        options: JobOptions,
        working_dir: Path,
        evaluate_only: bool = False,
        checkpoint: str | None = None,
    ) -> None:
        self.run_dir, self.options, self.working_dir = run_dir, options, working_dir
        self.evaluate_only, self.checkpoint_path = evaluate_only, checkpoint

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """submitit's question before it requeues: what to run then. All progress is in the run directory."""
        again = ClusterRun(self.run_dir, self.options, self.working_dir, self.evaluate_only, self.checkpoint_path)
        return submitit.helpers.DelayedSubmission(again)

    def __call__(self) -> dict[str, float]:
        """Body of a process.

        Returns:
            The results of the last evaluation.
        """
        self._files, self._job = JobFiles(self.run_dir), submitit.JobEnvironment()
        requeue = signal.getsignal(self.options.signal_number)  # submitit has set its own
        assert callable(requeue)
        self._requeue: Callable[[int, FrameType | None], Any] = requeue
        self._store: dist.Store | None = None
        self._owner = os.getpid()
        self._remove_stale_files()
        self._place = self._environment()
        setup_logging(main=self._place.rank == 0)
        for number in {signal.SIGTERM, self.options.signal_number}:
            signal.signal(number, self._on_signal)  # for the time in which the engine does not catch them
        try:
            results = self._run()
        except RunInterrupted as stop:
            number = int(str(stop.code)) - 128
            self._wait("saved")  # the first to go makes SLURM end the others
            self._leave(number)
        except Exception as error:
            self._failed(error)
            raise
        self._ignore_signals()  # Python gives up its handlers before it ends: a signal would then make a failure of it
        self._wait("done")
        if dist.is_initialized():
            dist.destroy_process_group()
        if self._place.rank == 0:
            self._end("completed")
        return results

    def _run(self) -> dict[str, float]:
        try:
            os.chdir(self.working_dir)
        except OSError as error:
            raise JobFileError(
                f"{socket.gethostname()} cannot enter {self.working_dir}, where the job was submitted "
                f"({error.strerror}): submit from a folder that all nodes see"
            ) from error
        self._join()
        cfg = load_config(self._files.config)
        if not self.evaluate_only:
            return train(cfg, resume=True)
        return evaluate(cfg, self.checkpoint_path)

    def _join(self) -> None:
        """Meet the others, and start the process group if there are any."""
        if self._place.world_size == 1:
            if reason := self._may_start():
                raise RendezvousError(reason)
            return
        self._store = meet(self._place, self.options, self._may_start)
        if self.options.gpus_per_node:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        elif "OMP_NUM_THREADS" not in os.environ:
            cores = self.options.cpus_per_task or (os.cpu_count() or 1) // self.options.tasks
            torch.set_num_threads(max(1, cores))
        start_group(self._store, self._place, self.options)

    def _may_start(self) -> str:
        """Asked in rank 0: is the run directory free, and does the job get on? A reason not to start, or empty."""
        self._files.cancelled.unlink(missing_ok=True)
        try:
            self._files.acquire(self._job.cluster, self._job.job_id)
        except JobFileError as error:
            return str(error)
        (self._job.paths.folder / f"{self._job.job_id}_{EARLY_ENDS}").unlink(missing_ok=True)
        reason = begin(self._files, self._job.job_id, self._place.hosts, self._place.world_size)
        if reason:
            self._end("failed", reason)
        return reason

    def _environment(self) -> Place:
        """This process's place, told to PyTorch too."""
        environment = submitit.helpers.TorchDistributedEnvironment()
        environment.export(set_cuda_visible_devices=False, overwrite=True)
        hosts = tuple(self._job.hostnames)
        master = environment.master_addr if len(hosts) > 1 else "127.0.0.1"
        return Place(self._job.job_id, environment.rank, environment.world_size, hosts, master, environment.master_port)

    def _remove_stale_files(self) -> None:
        """What an earlier start left must not pass for this one's result, nor stop submitit from writing it."""
        result, submitted = self._job.paths.result_pickle, self._job.paths.submitted_pickle
        result.unlink(missing_ok=True)
        for path in (result, submitted):
            if path is result or self._job.global_rank == 0:
                path.with_suffix(path.suffix + ".save_tmp").unlink(missing_ok=True)

    def _wait(self, name: str) -> None:
        if self._store is not None:
            wait_for_all(self._store, self._place, name, _LEAVE_SECONDS)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._owner:  # SLURM signals forked data-loader workers too: they end with this process
            self._leave(number)

    def _ignore_signals(self) -> None:
        for number in (signal.SIGTERM, self.options.signal_number):
            signal.signal(number, signal.SIG_IGN)

    def _leave(self, number: int) -> NoReturn:
        """End the process after a signal, without a result."""
        self._ignore_signals()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes a worker's end for an error
        for child in multiprocessing.active_children():
            child.kill()  # workers of a data loader would keep the job's step alive
        if self._place.rank != 0:
            _exit(0)  # any other code would make SLURM end rank 0, which has more to do
        if self._comes_back(number):
            _exit(self._hand_over(number))
        self._end("terminated", f"by {signal.Signals(number).name}")
        _exit(128 + number)

    def _comes_back(self, number: int) -> bool:
        """Is the job to be requeued by itself: not when it is cancelled, nor when SLURM requeues it anyway."""
        if self._files.cancelled.exists():
            return False
        if number == self.options.signal_number:
            return True
        return self._job.cluster == "slurm" and is_losing_its_nodes(self._job.job_id)

    def _hand_over(self, number: int) -> int:
        """Let submitit requeue the job; the exit code it wants."""
        finish(self._files, self._job.job_id, "requeued", f"by {signal.Signals(number).name}")
        reason = "submitit did not requeue it"
        try:
            self._requeue(number, None)
        except SystemExit as leave:
            return int(leave.code or 0) & 0xFF
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        reason = f"the job could not be requeued ({reason}); step {self._files.newest_step()} is saved, submit again"
        self._end("failed", reason)
        logger.error("%s", reason)
        return 1

    def _failed(self, error: Exception) -> None:
        """Tell where and when it happened; the process ends here if another one's failure is the cause."""
        where = f"rank {self._place.rank} of {self._place.world_size} on {socket.gethostname()}"
        beats = read_heartbeats(self._files.heartbeats)
        step = next((beat.step for beat in beats if beat.rank == self._place.rank), self._files.newest_step())
        message = f"{where} failed after step {step}: {user_message(error) or f'{type(error).__name__}: {error}'}"
        logger.error("%s", message)
        if is_consequence(error):
            self._ignore_signals()  # another may be faster: SLURM's end of the rest is not a cancellation
            time.sleep(_SETTLE_SECONDS)  # the culprit's own report comes first, and SLURM ends this process
            self._note_silence()
            time.sleep(_SETTLE_SECONDS)
            _exit(LOST_PEERS)
        if not isinstance(error, RendezvousError):
            self._end("failed", message)

    def _note_silence(self) -> None:
        """By now all processes that only waited have failed too: who hangs is the longest silent."""
        attempts = read_attempts(self._files)
        beats = read_heartbeats(self._files.heartbeats, attempts[-1].started if attempts else 0.0)
        signs = last_signs(beats)
        logger.error("another process has left or hangs (%s)", signs)
        # at once, as a stopped process wakes up when SLURM ends it; the main process may be the one
        if self._place.rank == min((beat.rank for beat in beats if beat.state == "failed"), default=0):
            finish(self._files, self._job.job_id, "died", signs)

    def _end(self, how: str, reason: str = "") -> None:
        finish(self._files, self._job.job_id, how, reason)
        self._files.release(self._job.job_id)


def is_consequence(error: BaseException) -> bool:
    """True for what a collective raises when another process has gone or does not answer."""
    words = ("closed by peer", "reset by peer", "Connection refused", "Broken pipe", "Timed out waiting", "NCCL")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
