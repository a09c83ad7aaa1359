"""Every source by its name: the one place that knows them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lidarloop_core.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from lidarloop_core.sample import SampleSource
    from lidarloop_training.data.nuscenes.reader import NuScenesSource

SourceName = Literal[
    "toytown",
    "kitti-raw",
    "kitti-object",
    "nuscenes-sweep",
    "nuscenes",
    "av2",
    "semantic-kitti",
    "nuscenes-lidarseg",
    "waymo",
    "once",
    "kept",
    "bag",
]

# Of keyframes with their sweeps, all scenes in one folder.
NUSCENES = ("nuscenes", "nuscenes-lidarseg")

# Reaches back from one nuScenes keyframe to the one before, at 20 sweeps and 2 keyframes per second.
_SWEEPS_PER_NUSCENES_KEYFRAME = 11


def open_source(
    source: SourceName,
    path: str,
    *,
    duration_s: float = 20.0,
    rate_hz: float = 10.0,
    cameras: bool = True,
    scene: str | None = None,
    points_topics: tuple[str, ...] = (),
    odometry_topic: str | None = None,
    num_sweeps: int | None = None,
) -> SampleSource:
    """The source behind a name and a path (or a seed).

    Args:
        num_sweeps: of each sample, as far as the source has poses. None is what a conversion wants: one or, of
            nuScenes, all from one keyframe to the next.
        source, path, duration_s, rate_hz, cameras, scene, points_topics, odometry_topic: see ``convert``.

    Raises:
        ConfigError: a seed that is no number.
        DatasetError, BagError: nothing readable is there.
    """
    sweeps = 1 if num_sweeps is None else num_sweeps
    if source == "toytown":
        return _open_toytown(path, duration_s, rate_hz, sweeps, cameras)
    place = Path(path)
    if not place.exists():
        raise DatasetError(f"{place} does not exist; expected the file or folder of a {source} drive")
    match source:  # mypy tells where a name of SourceName has no case
        case "kitti-raw":
            from lidarloop_training.data.kitti.raw import KittiRawSource

            return KittiRawSource(place, cameras=cameras)
        case "kitti-object":
            from lidarloop_training.data.kitti.object import KittiObjectSource

            return KittiObjectSource(place, cameras=cameras)
        case "nuscenes-sweep":
            from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource

            return NuScenesSweepSource(place, cameras=cameras)
        case "nuscenes":
            return _open_nuscenes(place, num_sweeps, cameras, scene)
        case "av2":
            from lidarloop_training.data.av2.reader import Av2Source

            return Av2Source(place, num_sweeps=sweeps, cameras=cameras)
        case "semantic-kitti":
            from lidarloop_training.data.kitti.semantic import SemanticKittiSource

            return SemanticKittiSource(place, num_sweeps=sweeps, cameras=cameras)
        case "nuscenes-lidarseg":
            from lidarloop_training.data.nuscenes.lidarseg import NuScenesLidarsegSource

            return NuScenesLidarsegSource(_open_nuscenes(place, num_sweeps, cameras, scene))
        case "waymo":
            from lidarloop_training.data.waymo.reader import WaymoSource

            return WaymoSource(place, num_sweeps=sweeps, cameras=cameras)
        case "once":
            from lidarloop_training.data.once.reader import OnceSource

            return OnceSource(place, num_sweeps=sweeps, cameras=cameras)
        case "kept":
            from lidarloop_training.data.kept_frames.reader import KeptFramesSource

            return KeptFramesSource(place, cameras=cameras)
        case "bag":
            from lidarloop_training.data.bag.reader import BagSource

            return BagSource(
                place,
                num_sweeps=sweeps,
                cameras=cameras,
                points_topics=points_topics,
                odometry_topic=odometry_topic,
            )


def _open_toytown(seed: str, duration_s: float, rate_hz: float, num_sweeps: int, cameras: bool) -> SampleSource:
    from lidarloop_training.toytown.drive import ToyTownDrive

    if not seed.isdecimal():
        raise ConfigError(f"toytown received {seed!r}; expected a seed: a whole number such as 7")
    return ToyTownDrive(int(seed), duration_s=duration_s, rate_hz=rate_hz, num_sweeps=num_sweeps, cameras=cameras)


def _open_nuscenes(root: Path, num_sweeps: int | None, cameras: bool, scene: str | None) -> NuScenesSource:
    from lidarloop_training.data.nuscenes.reader import NuScenesSource

    scenes = None if scene is None else [scene]
    sweeps = _SWEEPS_PER_NUSCENES_KEYFRAME if num_sweeps is None else num_sweeps
    return NuScenesSource(root, num_sweeps=sweeps, cameras=cameras, scenes=scenes)
