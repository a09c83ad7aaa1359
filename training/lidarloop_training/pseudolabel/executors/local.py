"""Work done on this machine, in this process or in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool

from lidarloop_core.errors import ConfigError, LidarloopError
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.labeller import Labeller, Work
from lidarloop_training.workers import worker_pool


def work_locally(job: LabelJob, pieces: Sequence[Work], *, num_workers: int = 1) -> Iterator[tuple[Work, bytes]]:
    """Yields pieces of work as they are finished, each with its document, which does not depend on ``num_workers``.

    Args:
        job: what is labelled, and how.
        pieces: the work to do.
        num_workers: processes, each with a model of its own; 1 works in this one.

    Raises:
        ConfigError: fewer than one worker.
        LidarloopError: a worker's own, or one of them died.
    """
    if num_workers < 1:
        raise ConfigError(f"received {num_workers} workers; expected at least 1")
    if num_workers == 1 or len(pieces) < 2:
        labeller = Labeller(job)
        for piece in pieces:
            yield piece, labeller.do(piece)
        return
    with worker_pool(min(num_workers, len(pieces)), _start_worker, job) as pool:
        pending = {pool.submit(_do_in_worker, piece): piece for piece in pieces}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        except BrokenProcessPool:
            raise LidarloopError(
                f"one of {num_workers} worker processes was ended from outside; expected them to live: is there memory "
                "for all? What is finished is kept: run the same command again, maybe with fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_labeller: Labeller | None = None
"""The labeller of this worker process; a model takes long to load."""


def _start_worker(job: LabelJob) -> None:
    global _labeller
    _labeller = Labeller(job)


def _do_in_worker(piece: Work) -> bytes:
    assert _labeller is not None
    return _labeller.do(piece)
