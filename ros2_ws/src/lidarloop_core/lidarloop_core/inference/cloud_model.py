"""What a detector and a segmenter share: a model on a backend, asked about one cloud after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.pictures import Pictures, dark, trial_pictures
from lidarloop_core.errors import BackendError, CloudFormatError
from lidarloop_core.inference.backend import Backend
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.model.group import GroupedCloud, LeftOut, group_cloud
from lidarloop_core.model.spec import ModelSpec


@dataclass(frozen=True)
class CloudAnswer:
    """How a model answered on one cloud.

    Attributes:
        stage_ms: durations of ``group``, ``infer`` and ``postprocess``, milliseconds.
        num_points: number of points in the cloud.
        num_out_of_range: number of points outside the model's range, or not finite.
        num_over_full: number of points left out of full pillars.
        num_thinned: number of points left out because the cloud has more pillars or voxels than the model takes.
        overfull: what exceeded the model's capacity, one text for each; see ``GroupedCloud.overfull``.
    """

    stage_ms: dict[str, float]
    num_points: int
    num_out_of_range: int
    num_over_full: int
    num_thinned: int
    overfull: tuple[str, ...]


def counts_of(left_out: LeftOut, num_points: int) -> dict[str, Any]:
    """The counts of a ``CloudAnswer`` by name.

    Args:
        left_out: what the grouping left out.
        num_points: number of points in the cloud.
    """
    return {
        "num_points": num_points,
        "num_out_of_range": left_out.num_out_of_range,
        "num_over_full": left_out.num_over_full,
        "num_thinned": left_out.num_thinned,
        "overfull": left_out.overfull,
    }


class CloudModel(ABC):
    """A model that answers about point clouds with any ``Backend``.

    Args:
        backend: the loaded model.

    Attributes:
        backend: the loaded model.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self.backend.spec

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names that the labels of the answers index."""

    @abstractmethod
    def answer(self, points: npt.NDArray[np.float32], pictures: Pictures | None = None) -> CloudAnswer:
        """Answers about one cloud.

        Args:
            points: (N, C) float32 in ``spec.point_columns``, metres, LiDAR frame. Where no point is in range the
                network is not run.
            pictures: what the cameras of ``spec.cameras`` saw; None where they saw nothing, or the model has none.

        Raises:
            CloudFormatError: C is not the number of the model's columns, or the network gave numbers that are not
                finite for this cloud alone.
            BackendError: the network failed, or gives numbers that are not finite for an ordinary cloud as well.
        """

    @abstractmethod
    def gives_finite(self, outputs: Mapping[str, npt.NDArray[Any]]) -> bool:
        """Whether the network's outputs (name → (K, …)), as far as they count, are finite."""

    def group(self, points: npt.NDArray[np.float32]) -> GroupedCloud:
        """Sorts a cloud (N, C) into the model's grid.

        Raises:
            CloudFormatError: C is not the number of the model's columns.
        """
        spec = self.spec
        if points.ndim != 2 or points.shape[1] != len(spec.point_columns):
            raise CloudFormatError(
                f"{spec.name} received points of shape {points.shape}; expected (N, {len(spec.point_columns)}): "
                f"{', '.join(spec.point_columns)}"
            )
        return group_cloud(points, spec)

    def run(
        self, points: npt.NDArray[np.float32], clock: StageClock, pictures: Pictures | None = None
    ) -> tuple[GroupedCloud, dict[str, npt.NDArray[Any]] | None]:
        """Groups a cloud (N, C) and runs the network; its outputs (K, …) are None where no point is in range."""
        index = self.group(points)
        clock.stop("group")
        nothing = index.is_empty and self.spec.takes_points
        outputs = None if nothing else self.backend.infer(graph_inputs(index, self.spec, pictures))
        clock.stop("infer")
        return index, outputs

    def require_finite(self, outputs: Mapping[str, npt.NDArray[Any]], what: str) -> None:
        """Refuses outputs that are not finite, with what is to blame: the backend, if it fails on an ordinary cloud.

        Args:
            outputs: name → array (K, …).
            what: words for the outputs, e.g. ``"boxes"``.

        Raises:
            CloudFormatError: outputs that are not finite, although those of an ordinary cloud are.
            BackendError: outputs that are not finite, and neither are those of an ordinary cloud.
        """
        if self.gives_finite(outputs):
            return
        small, _ = warm_up_clouds(self.spec, len(self.spec.point_columns))
        if self.gives_finite(self.backend.infer(graph_inputs(self.group(small), self.spec, None))):
            raise CloudFormatError(
                f"{self.spec.name} on {self.backend.device} gave {what} that are not finite for this cloud, though not "
                f"for an ordinary one: check the values that the driver gives {', '.join(self.spec.point_columns)}; if "
                "they are as in training, check the precision the engine was built with"
            )
        raise BackendError(
            f"{self.spec.name} on {self.backend.device} gave {what} that are not finite; "
            "expected numbers: check the precision the engine was built with"
        )

    def trial_pictures(self) -> Pictures | None:
        """Random pictures, with which a trial run takes as long as a real one; None for a model without cameras."""
        rig = self.spec.cameras
        return None if rig is None else trial_pictures(rig, self.spec.grid, seed=0)

    def warm_up(self) -> None:
        """Runs a small and a large cloud, so that compiling and allocating are over before the first real one."""
        small, large = warm_up_clouds(self.spec, len(self.spec.point_columns))
        seen = self.trial_pictures()
        for points, pictures in ((small, None), (large, seen), (small, seen)):
            self.answer(points, pictures)
        self.warm_up_postprocessing()

    def warm_up_postprocessing(self) -> None:  # noqa: B027  # most models have nothing to compile
        """Compiles what follows the network; nothing by default."""


def graph_inputs(index: GroupedCloud, spec: ModelSpec, pictures: Pictures | None) -> dict[str, npt.NDArray[Any]]:
    """Name of each of ``spec.inputs`` → array.

    Args:
        index: the grouped cloud, which a model on cameras alone does not look at.
        spec: the model's contract.
        pictures: what the cameras saw; None is no picture of any camera.
    """
    of_points = index.tensors() if spec.takes_points else {}
    if spec.cameras is None:
        return of_points
    return of_points | (pictures or dark(spec.cameras, spec.grid)).tensors()


def warm_up_clouds(spec: ModelSpec, num_columns: int) -> Iterator[npt.NDArray[np.float32]]:
    """A small cloud and one that fills the model: (N, num_columns), x y z anywhere in range, metres, and zeros."""
    random = np.random.default_rng(0)
    low, high = zip(*spec.grid.ranges_m, strict=True)
    for num_points in (100, 4 * spec.grid.most_cells):
        points = np.zeros((num_points, num_columns), np.float32)
        points[:, :3] = random.uniform(low, high, (num_points, 3))
        yield points
