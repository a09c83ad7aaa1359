"""ToyTownDrive: a drive through the toy town as a source of samples."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.toytown.camera import CAMERAS, HEIGHT, WIDTH, Camera, Picture, render
from lidarloop_training.toytown.lidar import COLUMNS, Scan, compensated, scan
from lidarloop_training.toytown.lidar_styles import HDL32E, STYLES, LidarName, LidarStyle
from lidarloop_training.toytown.masks import InstanceMask, instance_masks
from lidarloop_training.toytown.streets.point_classes import POINT_CLASSES
from lidarloop_training.toytown.style import TownStyle
from lidarloop_training.toytown.town import Town, build_town

ANNOTATION_RANGE_M = 60.0
_HORIZON_S = 20.0
_NAMES: dict[TownStyle, str] = {"plain": "toytown", "lookalikes": "toytown-lookalikes"}
_CACHED_SCANS = 16
_CACHED_PICTURES = 12


@dataclass(frozen=True)
class Clouds:
    """What the clouds of a drive hold beside ``COLUMNS``.

    Attributes:
        point_labels: whether there is the column ``label``, an index into ``POINT_CLASSES``.
        skewed: whether points are as the sensor measured them while the ego moved, with the column ``time``: when each
            was fired, seconds after the stamp; else they are compensated, as data sets are.
    """

    point_labels: bool = False
    skewed: bool = False


COMPENSATED = Clouds()


class ToyTownDrive:
    """A drive of one seed: a SampleSource whose samples come out the same in any order, process and length.

    The world frame is the town's own (odom): the ego starts somewhere in it with any heading. Stamps are the ends of
    the LiDAR's turns. Boxes are where things are at the stamp, while the points before it were taken up to a period
    earlier from a moving sensor (see lidar.py): a box and its points disagree by as much as a raw driver's would.

    Args:
        seed: which drive; any non-negative integer.
        duration_s: a shorter drive is the beginning of the usual 20 s one.
        rate_hz: turns of the LiDAR, and samples, per second.
        num_sweeps: sweeps in each sample, as far as the drive's beginning allows.
        cameras: whether samples carry the six cameras' images.
        clouds: what the clouds hold.
        style: the town's style; drives of one seed along the same streets in each.
        lidar: kind of LiDAR. The town of a seed is the same for each.
    """

    def __init__(
        self,
        seed: int,
        *,
        duration_s: float = 20.0,
        rate_hz: float = 10.0,
        num_sweeps: int = 1,
        cameras: bool = True,
        clouds: Clouds = COMPENSATED,
        style: TownStyle = "plain",
        lidar: LidarName = HDL32E.name,
    ) -> None:
        if seed < 0 or not 0 < duration_s < float("inf") or not rate_hz >= 2 or num_sweeps < 1:
            raise ConfigError(
                f"ToyTownDrive received seed {seed}, duration {duration_s} s, rate {rate_hz} Hz, {num_sweeps} sweeps; "
                "expected a seed ≥ 0, a duration > 0, a rate ≥ 2 and at least one sweep"
            )
        self.seed = seed
        self.duration_s = duration_s
        self.rate_hz = rate_hz
        self.num_sweeps = num_sweeps
        self.cameras = cameras
        self.clouds = clouds
        self.style = style
        if lidar not in STYLES:
            raise ConfigError(f"ToyTownDrive received the LiDAR {lidar!r}; expected one of {', '.join(STYLES)}")
        self.lidar: LidarStyle = STYLES[lidar]
        self._scans: OrderedDict[int, Scan] = OrderedDict()
        self._pictures: OrderedDict[tuple[int, str], Picture] = OrderedDict()

    @property
    def scene(self) -> str:
        """The drive's name; that of a LiDAR other than the town's own belongs to it."""
        return f"{_NAMES[self.style]}-{self.seed:04d}" + f"-{self.lidar.name}" * (self.lidar != HDL32E)

    @cached_property
    def _start_ns(self) -> int:
        """A round time of its own for every seed and style, so that no two drives share a stamp."""
        half_an_hour = 0 if self.style == "plain" else 1800
        return (1_700_000_000 + self.seed * 3600 + half_an_hour) * 1_000_000_000

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_scans": OrderedDict(), "_pictures": OrderedDict()}

    def __len__(self) -> int:
        return round(self.duration_s * self.rate_hz)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(SampleKey(self.token(i), self.scene, self.stamp_ns(i)) for i in range(len(self)))

    def stamp_ns(self, index: int) -> int:
        return self._start_ns + round(index * 1e9 / self.rate_hz)

    def token(self, index: int) -> str:
        """The sample_token of sample ``index``."""
        return f"{self.scene}-{index:04d}"

    def time_s(self, index: int) -> float:
        """Seconds since the first stamp: the town's clock."""
        return index / self.rate_hz

    @property
    def town(self) -> Town:
        """The world behind the drive, built at first use; the latest few are kept."""
        return build_town(self.seed, max(self.duration_s, _HORIZON_S), self.style)

    def scan(self, index: int) -> Scan:
        """The LiDAR's turn that ends at sample ``index``, with what each point hit. The latest few are kept.

        Raises:
            IndexError: the drive has no such sample.
            ConfigError: there is no camera of that name.
        """
        if index not in self._scans:
            rng = np.random.default_rng([self.seed, 0x11DA, index])
            self._scans[index] = scan(self.town, self.time_s(index), 1 / self.rate_hz, rng, self.lidar)
            while len(self._scans) > _CACHED_SCANS:
                self._scans.popitem(last=False)
        self._scans.move_to_end(index)
        return self._scans[index]

    def picture(self, index: int, camera_name: str) -> Picture:
        """What a camera saw at sample ``index``, with the actor in each pixel. The latest few are kept.

        Raises:
            ConfigError: if there is no such camera.
        """
        key = (index, camera_name)
        if key not in self._pictures:
            self._pictures[key] = render(self.town, _camera_named(camera_name), self.time_s(index))
            while len(self._pictures) > _CACHED_PICTURES:
                self._pictures.popitem(last=False)
        self._pictures.move_to_end(key)
        return self._pictures[key]

    def instance_masks(self, index: int, camera_name: str) -> tuple[InstanceMask, ...]:
        """True masks of the actors a camera saw at sample ``index``."""
        actors = self.town.actors
        return instance_masks(
            self.picture(index, camera_name).actor, [a.label for a in actors], [a.instance_id for a in actors]
        )

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a drive with {len(self)}")
        index %= len(self)
        sweeps = tuple(self._sweep(i) for i in range(index, max(index - self.num_sweeps, -1), -1))
        return Sample(
            token=self.token(index),
            scene=self.scene,
            stamp_ns=self.stamp_ns(index),
            sweeps=sweeps,
            cameras=self.pictures(index) if self.cameras else (),
            annotations=self._seen_annotations(index),
            lane_map=self.town.lane_map,
            point_classes=POINT_CLASSES if self.clouds.point_labels else (),
        )

    def annotations(self, index: int) -> Annotations:
        """Everything within range of the ego, seen or not: as in nuScenes a box may hold no point.

        What follows from a scan, ``num_lidar_pts`` and ``visibility``, is unknown; ``[i]`` gives both.
        """
        actors = self._actors_in_range(index)
        return self._boxed(index, actors, np.full(len(actors), -1), np.full(len(actors), np.nan, np.float32))

    def pose(self, index: int) -> LidarPose:
        return LidarPose(self.lidar.ego_SE3_lidar, self.town.world_SE3_ego(self.time_s(index)))

    def _sweep(self, index: int) -> Sweep:
        result, time_s, period_s = self.scan(index), self.time_s(index), 1 / self.rate_hz
        columns: tuple[str, ...] = COLUMNS
        if self.clouds.skewed:
            fired_s = self.lidar.pattern.firing_times(0.0, period_s)[result.azimuth_index].astype(np.float32)
            points, columns = np.column_stack([result.points, fired_s]), (*columns, TIME_COLUMN)
        else:
            points = compensated(result, self.town, time_s, period_s, self.lidar)
        if self.clouds.point_labels:
            points, columns = np.column_stack([points, result.label]), (*columns, "label")
        return Sweep(
            points,
            columns,
            self.stamp_ns(index),
            self.lidar.ego_SE3_lidar,
            self.town.world_SE3_ego(time_s),
        )

    def pictures(self, index: int) -> tuple[CameraImage, ...]:
        """The six cameras' pictures at sample ``index``, each rendered when it is loaded."""
        world_SE3_ego = self.town.world_SE3_ego(self.time_s(index))
        return tuple(
            CameraImage(
                camera.name,
                partial(self._rgb, index, camera.name),
                camera.intrinsics,
                WIDTH,
                HEIGHT,
                self.stamp_ns(index),
                camera.ego_SE3_camera,
                world_SE3_ego,
            )
            for camera in CAMERAS
        )

    def _rgb(self, index: int, camera_name: str) -> npt.NDArray[np.uint8]:
        return self.picture(index, camera_name).rgb

    def _seen_annotations(self, index: int) -> Annotations:
        """With what the LiDAR's scan tells of each object.

        ``num_lidar_pts`` counts the beams that came back from the object itself. ``visibility`` is the share of the
        LiDAR's beams on the object that nothing else stopped; NaN where it falls between all beams.
        """
        actors, result = self._actors_in_range(index), self.scan(index)
        return self._boxed(index, actors, result.num_points[actors], result.visible_share[actors])

    def _actors_in_range(self, index: int) -> npt.NDArray[np.int64]:
        """(M,) positions in ``town.actors``."""
        time_s = self.time_s(index)
        places = np.array([actor.poses(np.array([time_s]))[0, :2] for actor in self.town.actors])
        lidar = (self.town.world_SE3_ego(time_s) @ self.lidar.ego_SE3_lidar).translation[:2]
        return np.flatnonzero(np.linalg.norm(places - lidar, axis=1) < ANNOTATION_RANGE_M)

    def _boxed(
        self,
        index: int,
        chosen: npt.NDArray[np.int64],
        num_lidar_pts: npt.NDArray[np.int64],
        visibility: npt.NDArray[np.float32],
    ) -> Annotations:
        time_s = self.time_s(index)
        actors = [self.town.actors[i] for i in chosen]
        poses = np.array([actor.poses(np.array([time_s]))[0] for actor in actors])
        sizes = np.array([actor.shape.size for actor in actors])
        velocities = np.array([actor.track.velocity(time_s) for actor in actors])
        values = np.column_stack([poses[:, :3], sizes, poses[:, 3], velocities]).astype(np.float32)
        labels = np.array([actor.label for actor in actors])
        boxes = Boxes3D(values, np.ones(len(actors), np.float32), labels, NUSCENES_CLASSES)
        world_SE3_lidar = self.town.world_SE3_ego(time_s) @ self.lidar.ego_SE3_lidar
        instance_ids = tuple(actor.instance_id for actor in actors)
        return Annotations(boxes.transformed(world_SE3_lidar.inverse()), instance_ids, num_lidar_pts, visibility)


def _camera_named(name: str) -> Camera:
    for camera in CAMERAS:
        if camera.name == name:
            return camera
    raise ConfigError(f"the toy town received camera {name!r}; expected one of {', '.join(c.name for c in CAMERAS)}")
