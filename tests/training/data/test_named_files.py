"""Whatever a user or a table names, a pipe or a device in its place is refused at once, and never waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import LidarloopError

LIMIT_S = 10


@contextmanager
def time_limit() -> Iterator[None]:
    """Raises TimeoutError in a block that waits: opening a pipe would do so for ever."""

    def stop(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _priors(path: Path) -> Any:
    from lidarloop_core.labelling.priors import ShapePriors

    return ShapePriors.read(path)


def _vocabulary(path: Path) -> Any:
    from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary

    return Vocabulary.read(path)


def _masks(path: Path) -> Any:
    from lidarloop_core.labelling.mask_models.masks_file import MasksFile

    return MasksFile(path)


def _onnx(path: Path) -> Any:
    from lidarloop_core.labelling.mask_models.onnx_network import OnnxNetwork

    return OnnxNetwork(path)


def _latency(path: Path) -> Any:
    from lidarloop_training.evaluation.latency import read_latency

    return read_latency(path)


def _infos(path: Path) -> Any:
    from lidarloop_training.data.nuscenes.single_sweep import read_infos

    return read_infos(path)


def _cvat(path: Path) -> Any:
    from lidarloop_training.data.writing.cvat import _read_export

    return _read_export(path)


def _feather(path: Path) -> Any:
    pytest.importorskip("pyarrow")
    from lidarloop_training.data.av2.reader import _read_table

    return _read_table(path, ("x",))


def _parquet(path: Path) -> Any:
    pytest.importorskip("pyarrow")
    from lidarloop_training.data.waymo.component import read_columns

    return read_columns(path, ("x",))


def _kitti_labels(path: Path) -> Any:
    from lidarloop_core.geometry.se3 import SE3
    from lidarloop_training.data.kitti.calibration import KittiCalibration
    from lidarloop_training.data.kitti.object import _read_labels

    return _read_labels(path, KittiCalibration(np.eye(3), SE3.identity(), SE3.identity()))


def _kitti_score(path: Path) -> Any:
    from lidarloop_training.evaluation.kitti_ground_truth import _read_objects

    return _read_objects(path)


def _semantic_rows(path: Path) -> Any:
    from lidarloop_training.data.kitti.semantic import _rows_of

    return _rows_of(path, ["000000"], num_columns=1)


def _weights(path: Path) -> Any:
    pytest.importorskip("torch")
    from lidarloop_training.stages.checkpoint import load_weights

    (path.parent / "run").mkdir()
    path.rename(path.parent / "run" / "model.safetensors")
    return load_weights(path.parent / "run")


def _parameters(path: Path) -> Any:
    from lidarloop_ros.node.params_file import parameters_for

    return parameters_for(path, "/lidar_detector")


READERS: list[Callable[[Path], Any]] = [
    _priors, _vocabulary, _masks, _onnx, _latency, _infos, _cvat, _feather, _parquet, _kitti_labels, _kitti_score,
    _semantic_rows, _weights, _parameters,
]  # fmt: skip


@pytest.mark.parametrize("read", READERS, ids=[read.__name__.strip("_") for read in READERS])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_regular_file_is_one_clear_line_at_once(tmp_path: Path, read: Callable[[Path], Any], kind: str) -> None:
    path = tmp_path / "named.file"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with time_limit(), pytest.raises(LidarloopError) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_pretrained_folder_with_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from lidarloop_training.pseudolabel.mask_models.pretrained import load

    os.mkfifo(tmp_path / "config.json")
    with time_limit(), pytest.raises(LidarloopError, match="regular file"):
        load("AutoModel", str(tmp_path), processor="AutoProcessor", revision=None, device="cpu")
