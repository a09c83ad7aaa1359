from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_training.data.drive_spec import ToyTown
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE
from lidarloop_training.pseudolabel.executors import ray as ray_executor
from lidarloop_training.pseudolabel.executors.local import work_locally
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.labeller import Work
from lidarloop_training.pseudolabel.manifest import Segment
from lidarloop_training.pseudolabel.pipeline import label_drives, open_manifest


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without processors and two machines with one each, all here."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it leaves a token in the home folder
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'lidarloop[ray]'")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    # A lost machine is noticed within a second instead of half a minute.
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
    )
    cluster.machines = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_machine_that_dies_changes_nothing(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    job = LabelJob(ToyTown(3000, duration_s=1.0), mask_model=None, sensors="lidar", segment_frames=1)
    enlisted, finished = [], []
    enlist = ray_executor._Crew._enlist

    def noted(crew: Any) -> None:
        enlisted.append(crew)
        enlist(crew)

    monkeypatch.setattr(ray_executor._Crew, "_enlist", noted)

    def executor(job: LabelJob, pieces: Sequence[Work]) -> Iterator[tuple[Work, bytes]]:
        for piece, document in ray_executor.work_on_ray(job, pieces, num_workers=2, address=cluster.address):
            finished.append(piece.name)
            yield piece, document
            if len(finished) == 1:
                # Both workers are up and wait for another piece, and the machine of one is known to be gone: there are
                # pieces left, so it is given one.
                ray.wait(list(enlisted[0]._doing), num_returns=2, timeout=60)
                cluster.remove_node(cluster.machines.pop(), allow_graceful=False)
                _wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)

    together = label_drives(job, tmp_path / "together", executor)

    segments = [segment.name for segment in open_manifest(job, tmp_path / "together").segments]
    assert sorted(finished) == [*segments, "toytown-3000"]  # each once
    assert len(enlisted) == 2 + 1 + 1  # two, one for the one that died, one for the drive
    alone = label_drives(job, tmp_path / "alone", work_locally)
    for left, right in zip(alone, together, strict=True):
        assert left.read_bytes() == right.read_bytes()
        assert left.with_name(EVIDENCE).read_bytes() == right.with_name(EVIDENCE).read_bytes()


def test_no_workers_are_refused(job: LabelJob) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        next(ray_executor.work_on_ray(job, [Segment(0, 1)], num_workers=0))


def test_nothing_to_do_needs_no_cluster(job: LabelJob) -> None:
    assert list(ray_executor.work_on_ray(job, [], address="nowhere:1")) == []


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
