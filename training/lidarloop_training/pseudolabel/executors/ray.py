"""Work done by actors of a Ray cluster, which may lose machines and gain others meanwhile.

Each actor holds a loaded model and has one piece of work at a time. When it dies with its machine, its piece goes back
to the front of the queue and a new actor is asked for, which starts wherever there is room, now or later. What is
finished comes back to this process, which alone writes: nothing is done twice that was finished, nothing is lost.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from lidarloop_core.errors import ConfigError, LidarloopError
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.labeller import Labeller, Work

MAX_TRIES = 3
"""Of one piece of work: what kills its actor three times is not the machine's fault."""


def work_on_ray(
    job: LabelJob,
    pieces: Sequence[Work],
    *,
    num_workers: int | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
) -> Iterator[tuple[Work, bytes]]:
    """Yields pieces of work as they are finished, each with its document.

    Args:
        job: what is labelled, and how; its paths must lead to the same files on every machine.
        pieces: the work to do.
        num_workers: actors, of one CPU each; None takes as many as the cluster has CPUs.
        address: the cluster's address; None takes the one that RAY_ADDRESS names, or starts one on this machine.
        gpus_per_worker: share of a GPU that an actor's model needs.

    Raises:
        ConfigError: Ray is not installed, the cluster is not there, or fewer than one worker is wanted.
        LidarloopError: a worker's own, or one piece killed its worker ``MAX_TRIES`` times.
    """
    if num_workers is not None and num_workers < 1:
        raise ConfigError(f"received {num_workers} workers; expected at least 1")
    if not pieces:
        return
    ray = _ray()
    is_ours = not ray.is_initialized()
    if is_ours:
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=None if address else False)
        except (ConnectionError, RuntimeError) as error:
            raise ConfigError(
                f"no Ray cluster at {address} ({error}); expected a running one: `ray start --head`"
            ) from None
    try:
        wanted = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        crew = _Crew(ray, job, min(wanted, len(pieces)), gpus_per_worker)
        try:
            yield from crew.work_off(pieces)
        finally:
            crew.dismiss()
    finally:
        if is_ours:
            ray.shutdown()


class _Worker:
    """The actor. An error in its constructor would look like a death, so it has none that can fail."""

    def __init__(self, job: LabelJob) -> None:
        self._labeller = Labeller(job)

    def start(self) -> None:
        """Answers when the actor is up."""

    def do(self, piece: Work) -> bytes:
        return self._labeller.do(piece)


class _Crew:
    """The actors of a run, and what each is doing."""

    def __init__(self, ray: Any, job: LabelJob, size: int, gpus_per_worker: float) -> None:
        self._ray = ray
        self._worker = ray.remote(num_cpus=1, num_gpus=gpus_per_worker)(_Worker)
        self._job = ray.put(job)
        self._size = size
        self._doing: dict[Any, tuple[Any, Work | None]] = {}
        """Future → (actor, its piece of work; None while it starts)."""

    def work_off(self, pieces: Sequence[Work]) -> Iterator[tuple[Work, bytes]]:
        queue, num_left, deaths = deque(pieces), len(pieces), Counter[Work | None]()
        for _ in range(self._size):
            self._enlist()
        while num_left:
            (future,), _ = self._ray.wait(list(self._doing), num_returns=1)
            actor, piece = self._doing.pop(future)
            try:
                document = self._ray.get(future)
            except self._ray.exceptions.RayActorError as error:
                deaths[piece] += 1
                _check_deaths(deaths, piece, self._size, error)
                if piece is not None:
                    queue.appendleft(piece)
                self._enlist()
                continue
            except self._ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, LidarloopError) else error) from None
            if queue:
                following = queue.popleft()
                self._doing[actor.do.remote(following)] = (actor, following)
            if piece is not None:
                num_left -= 1
                yield piece, document

    def dismiss(self) -> None:
        for actor, _ in self._doing.values():
            self._ray.kill(actor)
        self._doing.clear()

    def _enlist(self) -> None:
        """Asks for one more actor; it starts once a machine has room for it."""
        actor = self._worker.remote(self._job)
        self._doing[actor.start.remote()] = (actor, None)


def _check_deaths(deaths: Counter[Work | None], piece: Work | None, crew_size: int, error: Exception) -> None:
    most = MAX_TRIES * (crew_size if piece is None else 1)
    if deaths[piece] >= most:
        what = "starting" if piece is None else piece.name
        raise LidarloopError(
            f"{what} ended {most} workers ({str(error).splitlines()[0]}); expected them to live: look at their memory. "
            "What is finished is kept: run the same command again"
        )


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ConfigError(
            f"the Ray executor received no usable ray ({error}); expected it installed: pip install 'lidarloop[ray]', "
            "or work on this machine with --executor local"
        ) from None
    return ray
