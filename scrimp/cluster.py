"""Runs on the machines of a Ray cluster: each comes home with its files, also when the machine under it dies.

What a run writes is sent home: its checkpoint after each validation, so that another node can go on from there, and
all of its folder at the end. Nodes need Scrimp installed and nothing else; they share no disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scrimp.batches.packing import machine_mark
from scrimp.errors import MissingExtra, ScrimpError, SettingError, StorageError
from scrimp.store import write_whole
from scrimp.training import Epoch

_POLL_S = 0.2  # between looks at what a run has sent home
_STARTS = 4  # of a run whose node dies, before it counts as failed: it may be what kills them
_CHECKPOINT = "checkpoint.pt"
_FOLDER = "scrimp-run-"
_TOLD = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "SCRIMP_WATTS")  # of a machine, and so in no plan


class Place(NamedTuple):
    """Where a run takes place: share of the node that it takes (0 to 1), and a sentence that tells of it."""

    share: float
    told: str


Work = Callable[..., Any]
"""work(*arguments, folder=…, stop=…, place=…): does a run in a folder of the node, `stop` as for `train`; what it
returns comes home with the files of the folder."""


class Cluster:
    """A cluster that is connected. nodes: how many can compute. slots: runs that it takes at a time. lock: for what its
    runs share at home.
    """

    def __init__(self, runs: int) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray: Any = ray
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        if not nodes:
            raise SettingError("The cluster has no node with a processor to run on.")
        self.nodes = len(nodes)
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        cpus = [int(node["CPU"]) for node in nodes]
        self._cpus = 1 if gpus else max(1, min([*cpus, sum(cpus) // runs]))
        self._gpus = 1 if gpus else 0
        self.slots = gpus or sum(count // self._cpus for count in cpus)
        self.lock = threading.Lock()
        self._stopping = threading.Event()
        self._sent: dict[Any, Any] = {}
        self._told = {name: os.environ[name] for name in _TOLD if name in os.environ}
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        forever = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        self._mailbox: Any = ray.remote(_Mailbox).options(**forever, scheduling_strategy=here).remote()

    def send(self, name: Any, what: Any) -> Any:
        """A reference to something that runs share, sent at the first call of that name; each node fetches it once."""
        if name not in self._sent:
            self._sent[name] = self._ray.put(what)
        return self._sent[name]

    def run(
        self,
        work: Work,
        arguments: Sequence[Any],
        folder: Path,
        *,
        stop: Callable[[Sequence[Epoch]], str] | None = None,
    ) -> Any:
        """Has work done on some node, as if it were in this folder, where its files then lie; returns what it returned.

        It goes on from the checkpoint that lies there. When its node dies it is started again on another, from the
        last checkpoint that came home. Raises `ScrimpError` with the reason for which the work failed.
        """
        errors = self._ray.exceptions
        remote = self._ray.remote(_on_node).options(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)
        for start in range(1, _STARTS + 1):
            key = uuid.uuid4().hex
            kept = folder / _CHECKPOINT
            checkpoint = kept.read_bytes() if kept.is_file() else None
            job = remote.remote(self._mailbox, key, start, self._told, checkpoint, work, *arguments)
            try:
                self._wait(job, key, folder, stop)
                failure, files, returned = self._ray.get(job)
            except errors.RayTaskError as error:
                raise (error.cause or error) from None  # our bug: let it be seen
            except errors.RayError:
                continue
            if failure:
                raise ScrimpError(failure)
            for name, content in files.items():
                write_whole(folder / name, content)
            kept.unlink(missing_ok=True)
            return returned
        raise StorageError(f"{_STARTS} nodes died under it, one after the other.")

    def stop(self) -> None:
        """Ends all runs; whoever waits for one gets a KeyboardInterrupt."""
        self._stopping.set()

    def _wait(self, job: Any, key: str, folder: Path, stop: Callable[[Sequence[Epoch]], str] | None) -> None:
        """Until the job has ended, takes its letters: keeps the checkpoints, and answers whether it is to stop."""
        ended = False
        while not ended:
            ended = bool(self._ray.wait([job], timeout=_POLL_S)[0])
            if self._stopping.is_set():
                self._ray.cancel(job, force=True)
                raise KeyboardInterrupt
            letter = self._ray.get(self._mailbox.take.remote(key))
            if letter is None:
                continue
            history, checkpoint = letter
            if checkpoint is not None:
                write_whole(folder / _CHECKPOINT, checkpoint)
            if stop is not None and (reason := stop(history)):
                self._mailbox.answer.remote(key, reason)


@contextmanager
def connected(on: str, runs: int) -> Iterator[Cluster]:
    """The cluster that `on` names: "ray" for the one of this machine, or one of this machine alone; or its address.

    runs: how many there will be, which decides how many processors each gets. Raises `MissingExtra` without Ray,
    `SettingError` for an address that is none or does not answer.
    """
    if on != "ray" and not on.startswith("ray://"):
        raise SettingError(
            f"on='{on}' is no place to run: give 'here', 'ray', or a cluster's address, ray://HOST:10001."
        )
    try:
        import ray
    except ImportError:
        raise MissingExtra("A Ray cluster", "ray") from None
    was_connected = ray.is_initialized()
    if not was_connected:
        try:
            ray.init(address=on if on != "ray" else None, log_to_driver=False, logging_level="warning")
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            raise SettingError(f"No Ray cluster answers at '{on}': {error}") from None
    try:
        yield Cluster(runs)
    finally:
        if not was_connected:
            ray.shutdown()


# ---------------------------------------------------------------- on the other side


class _Mailbox:
    """What runs send home and are told; of each the latest only."""

    def __init__(self) -> None:
        self._letters: dict[str, tuple[list[Epoch], bytes | None]] = {}
        self._answers: dict[str, str] = {}

    def post(self, key: str, history: list[Epoch], checkpoint: bytes | None) -> str:
        self._letters[key] = (history, checkpoint)
        return self._answers.get(key, "")

    def take(self, key: str) -> tuple[list[Epoch], bytes | None] | None:
        return self._letters.pop(key, None)

    def answer(self, key: str, reason: str) -> None:
        self._answers[key] = reason


def _on_node(
    mailbox: Any, key: str, start: int, told: dict[str, str], checkpoint: bytes | None, work: Work, *arguments: Any
) -> tuple[str, dict[str, bytes], Any]:
    """Does the work in a folder of its own; why it failed, or the files that it left and what it returned.

    told: what the environment says at home and is to say here, too.
    """
    import ray
    import torch

    from scrimp.cost import warm_up_sensor
    from scrimp.progress import be_silent

    os.environ.update(told)
    be_silent()
    warm_up_sensor()
    _sweep_up()
    place, cpus = _place(start)
    torch.set_num_threads(cpus)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{machine_mark()}-{os.getpid()}-"))
    waiting = ThreadPoolExecutor(1)  # if the main thread waited, Ray would give its processor to another run

    def stop(history: Sequence[Epoch]) -> str:
        latest = folder / _CHECKPOINT
        sent = mailbox.post.remote(key, list(history), latest.read_bytes() if latest.is_file() else None)
        answer: str = waiting.submit(ray.get, sent).result()
        return answer

    try:
        if checkpoint is not None:
            (folder / _CHECKPOINT).write_bytes(checkpoint)
        returned = work(*arguments, folder=folder, stop=stop, place=place)
        return "", {path.name: path.read_bytes() for path in folder.iterdir()}, returned
    except (ScrimpError, RuntimeError, MemoryError) as error:  # RuntimeError: how torch tells of no memory
        return str(error) or type(error).__name__, {}, None
    finally:
        waiting.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _sweep_up() -> None:
    """Removes what runs left here whose process was ended before it could, as Ctrl-C ends it."""
    import psutil

    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}{machine_mark()}-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[3])):
            shutil.rmtree(left, ignore_errors=True)  # another user's stays


def _place(start: int) -> tuple[Place, int]:
    """Where this process is, and on how many processors it may compute."""
    import ray

    context = ray.get_runtime_context()
    mine = context.get_assigned_resources()
    (node,) = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
    kind = "GPU" if mine.get("GPU") else "CPU"
    share, whole = mine.get(kind, 1.0), node["Resources"].get(kind, 1.0)
    told = (
        f"Ran on the node {node['NodeManagerAddress']} ({node['NodeID'][:6]}), on {share:g} of its {whole:g} {kind}s."
    )
    if start > 1:
        told += f" Start {start}: the node of an earlier one had died."
    return Place(share / whole, told), max(1, int(mine.get("CPU", 1)))
