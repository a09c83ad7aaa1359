"""One drive on its way into the nuScenes tables."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import encode_jpeg, encoded
from lidarloop_core.io.outside import safe_name
from lidarloop_core.sample import CameraImage, Sample, Sweep
from lidarloop_training.data.nuscenes.classes import (
    CLASS_TO_CATEGORY,
    MOVING_ABOVE_MPS,
    attribute_of,
    visibility_token,
)
from lidarloop_training.data.nuscenes.lane_map import map_expansion
from lidarloop_training.data.nuscenes.lidarseg_classes import category_indices
from lidarloop_training.data.nuscenes.tables import LIDARSEG, Record, Tables, link, token, write_synced

LIDAR = "LIDAR_TOP"


def sample_token(sample: Sample) -> str:
    """The token a sample gets in the tables."""
    return token("sample", sample.scene, sample.stamp_ns)


def picture_filename(sample: Sample, image: CameraImage) -> str:
    """Where a keyframe's picture goes, relative to the root."""
    return _filename(sample.scene, image.name, image.stamp_ns, "jpg", is_keyframe=True)


@dataclass(frozen=True)
class _SensorFrame:
    """What one sensor recorded at one time, for the tables.

    Attributes:
        channel: the sensor's name, e.g. ``"LIDAR_TOP"``.
        stamp_ns: time of the recording, nanoseconds.
        ego_SE3_sensor: mounting pose.
        world_SE3_ego: the vehicle's pose at ``stamp_ns``; None where it is not known.
        fileformat: ``"pcd"`` or ``"jpg"``, as in the tables.
        suffix: end of the file's name, without its dot.
        size_px: width and height of an image; zeros for a cloud.
        intrinsics: 3 × 3 camera matrix, pixels; empty for a cloud.
    """

    channel: str
    stamp_ns: int
    ego_SE3_sensor: SE3
    world_SE3_ego: SE3 | None
    fileformat: str
    suffix: str
    size_px: tuple[int, int] = (0, 0)
    intrinsics: Sequence[Sequence[float]] = ()


class Scene:
    """The records of one drive while it is being written: ``add`` its frames in order, then ``finish``.

    Args:
        tables: all tables.
        root: folder that files are written to.
        version: name of the tables' folder, which is that of the label files too.
    """

    def __init__(self, tables: Tables, root: Path, version: str) -> None:
        self._tables = tables
        self._root = root
        self._version = version
        self._first: Sample | None = None
        self._samples: list[Record] = []
        self._waiting: list[Record] = []  # sample_data of sweeps that belong to the keyframe to come
        self._channels: dict[str, list[Record]] = {}
        self._objects: dict[str, list[tuple[Record, str, float]]] = {}  # annotation, class, speed of each instance

    def add(self, sample: Sample, *, is_keyframe: bool) -> None:
        """Adds the next frame: its cloud and, of a keyframe, its images and annotations.

        Raises:
            DatasetError: it is of another scene, has no pose or, as a keyframe, no annotations.
        """
        self._first = self._first or sample
        if sample.scene != self._first.scene:
            raise DatasetError(
                f"received frames of scenes {self._first.scene} and {sample.scene} from one source; "
                "expected one scene each: give the sources as a list"
            )
        lidar = self._add_lidar(sample.keyframe, is_keyframe)
        self._waiting.append(lidar)
        if not is_keyframe:
            return
        record = self._tables.add(
            "sample",
            sample_token(sample),
            timestamp=_microseconds(sample.stamp_ns),
            scene_token=token("scene", sample.scene),
        )
        self._samples.append(record)
        self._assign_waiting()
        if sample.point_classes:
            self._add_point_labels(sample, lidar["token"])
        for image in sample.cameras:
            self._add_camera(image)["sample_token"] = record["token"]
        self._add_annotations(sample, record)

    def finish(self) -> None:
        """Links what follows each other and adds the records that need the complete drive."""
        assert self._first is not None
        self._assign_waiting()
        link(self._samples)
        for records in self._channels.values():
            link(records)
        for instance_id, boxes in self._objects.items():
            self._add_instance(instance_id, boxes)
        self._add_scene(self._first.scene, self._first.stamp_ns)
        self._add_map(self._first)

    def _assign_waiting(self) -> None:
        """Sweeps belong to the keyframe after them, those after the last keyframe to it."""
        for record in self._waiting:
            record["sample_token"] = self._samples[-1]["token"]
        self._waiting.clear()

    def _add_lidar(self, sweep: Sweep, is_keyframe: bool) -> Record:
        frame = _SensorFrame(
            LIDAR, sweep.stamp_ns, sweep.ego_SE3_lidar, sweep.world_SE3_ego, fileformat="pcd", suffix="pcd.bin"
        )
        record = self._add_sample_data(frame, is_keyframe)
        write_synced(self._root / record["filename"], _lidar_file(sweep).tobytes())
        return record

    def _add_point_labels(self, sample: Sample, sample_data_token: str) -> None:
        filename = f"lidarseg/{self._version}/{sample_data_token}_lidarseg.bin"
        write_synced(self._root / filename, category_indices(sample).tobytes())
        self._tables.add(LIDARSEG, sample_data_token, sample_data_token=sample_data_token, filename=filename)

    def _add_camera(self, image: CameraImage) -> Record:
        frame = _SensorFrame(
            image.name,
            image.stamp_ns,
            image.ego_SE3_camera,
            image.world_SE3_ego,
            fileformat="jpg",
            suffix="jpg",
            size_px=(image.width, image.height),
            intrinsics=image.intrinsics.tolist(),
        )
        record = self._add_sample_data(frame, is_keyframe=True)
        picture = encoded(image)
        if picture.format != "jpeg":
            picture = encode_jpeg(picture())
        write_synced(self._root / record["filename"], picture.data)
        return record

    def _add_sample_data(self, frame: _SensorFrame, is_keyframe: bool) -> Record:
        assert self._first is not None
        scene = self._first.scene
        channel, world_SE3_ego = frame.channel, frame.world_SE3_ego
        if world_SE3_ego is None:
            raise DatasetError(
                f"scene {scene}: received a {channel} frame without an ego pose; nuScenes tables need ego-motion: "
                "convert to a bag (a destination that ends in .mcap) instead"
            )
        sensor = token("sensor", channel)
        self._tables.add("sensor", sensor, channel=channel, modality="camera" if frame.intrinsics else "lidar")
        mounting = [
            frame.ego_SE3_sensor.translation.tolist(),
            frame.ego_SE3_sensor.wxyz.tolist(),
            list(frame.intrinsics),
        ]
        calibration = token("calibrated_sensor", scene, channel, mounting)
        self._tables.add(
            "calibrated_sensor",
            calibration,
            sensor_token=sensor,
            translation=mounting[0],
            rotation=mounting[1],
            camera_intrinsic=mounting[2],
        )
        timestamp = _microseconds(frame.stamp_ns)
        own_token = token("sample_data", scene, channel, frame.stamp_ns)
        self._tables.add(
            "ego_pose",
            own_token,
            timestamp=timestamp,
            rotation=world_SE3_ego.wxyz.tolist(),
            translation=world_SE3_ego.translation.tolist(),
        )
        record = self._tables.add(
            "sample_data",
            own_token,
            sample_token="",
            ego_pose_token=own_token,
            calibrated_sensor_token=calibration,
            timestamp=timestamp,
            fileformat=frame.fileformat,
            is_key_frame=is_keyframe,
            height=frame.size_px[1],
            width=frame.size_px[0],
            filename=_filename(scene, channel, frame.stamp_ns, frame.suffix, is_keyframe),
        )
        self._channels.setdefault(channel, []).append(record)
        return record

    def _add_annotations(self, sample: Sample, record: Record) -> None:
        annotations, sweep = sample.annotations, sample.keyframe
        if annotations is None:
            raise DatasetError(
                f"{sample.token}: received a frame without annotations; nuScenes tables need them: "
                "convert to a bag (a destination that ends in .mcap) instead"
            )
        assert sweep.world_SE3_ego is not None
        world_SE3_lidar = sweep.world_SE3_ego @ sweep.ego_SE3_lidar
        boxes = annotations.boxes
        centers = world_SE3_lidar.transform(boxes.centers.astype(np.float64))
        counts = annotations.num_lidar_pts.copy()
        unknown = counts < 0
        counts[unknown] = points_in_boxes(sweep.points, boxes.values[unknown]).sum(axis=1)
        half_yaws = (
            boxes.righted(world_SE3_lidar).yaws.astype(np.float64) / 2
        )  # nuScenes' boxes are upright in the world
        speeds = np.linalg.norm(boxes.velocities.astype(np.float64), axis=1)
        for i, (name, instance_id) in enumerate(zip(boxes.names, annotations.instance_ids, strict=True)):
            if name not in CLASS_TO_CATEGORY:
                raise DatasetError(
                    f"{sample.token}: received a box of class {name!r}; expected one of {', '.join(CLASS_TO_CATEGORY)}"
                )
            length, width, height = boxes.dimensions[i].tolist()
            annotation = self._tables.add(
                "sample_annotation",
                token("sample_annotation", sample.scene, sample.stamp_ns, instance_id),
                sample_token=record["token"],
                instance_token=token("instance", sample.scene, instance_id),
                visibility_token=visibility_token(float(annotations.visibility[i])),
                attribute_tokens=[],
                translation=centers[i].tolist(),
                size=[width, length, height],
                rotation=[np.cos(half_yaws[i]), 0.0, 0.0, np.sin(half_yaws[i])],
                num_lidar_pts=int(counts[i]),
                num_radar_pts=0,
            )
            self._objects.setdefault(instance_id, []).append((annotation, name, float(speeds[i])))

    def _add_instance(self, instance_id: str, boxes: list[tuple[Record, str, float]]) -> None:
        records = [record for record, _, _ in boxes]
        link(records)
        ever_moves = any(speed > MOVING_ABOVE_MPS for _, _, speed in boxes)
        for record, name, speed in boxes:
            attribute = attribute_of(name, is_moving=speed > MOVING_ABOVE_MPS, ever_moves=ever_moves)
            if attribute is not None and not np.isnan(speed):
                record["attribute_tokens"] = [token("attribute", attribute)]
        self._tables.add(
            "instance",
            records[0]["instance_token"],
            category_token=token("category", CLASS_TO_CATEGORY[boxes[0][1]]),
            nbr_annotations=len(records),
            first_annotation_token=records[0]["token"],
            last_annotation_token=records[-1]["token"],
        )

    def _add_scene(self, scene: str, stamp_ns: int) -> None:
        self._tables.add(
            "scene",
            token("scene", scene),
            log_token=token("log", scene),
            nbr_samples=len(self._samples),
            first_sample_token=self._samples[0]["token"],
            last_sample_token=self._samples[-1]["token"],
            name=scene,
            description="",
        )
        day = datetime.fromtimestamp(stamp_ns / 1e9, tz=timezone.utc).date().isoformat()
        self._tables.add(
            "log", token("log", scene), logfile=scene, vehicle="lidarloop", date_captured=day, location=safe_name(scene)
        )

    def _add_map(self, sample: Sample) -> None:
        """The lane map where there is one, and a raster mask: one black pixel, which the devkit insists on."""
        map_token = token("map", sample.scene)
        filename = f"maps/{map_token}.png"
        self._tables.add(
            "map", map_token, log_tokens=[token("log", sample.scene)], category="semantic_prior", filename=filename
        )
        buffer = io.BytesIO()
        Image.new("L", (1, 1)).save(buffer, "PNG")
        write_synced(self._root / filename, buffer.getvalue())
        if sample.lane_map is not None:
            layers = json.dumps(map_expansion(sample.lane_map, sample.scene)).encode()
            write_synced(self._root / "maps" / "expansion" / f"{safe_name(sample.scene)}.json", layers)


def _lidar_file(sweep: Sweep) -> npt.NDArray[np.float32]:
    """(N, 5) x y z intensity ring; ring -1 where the sensor does not give it (the devkit skips that column)."""
    if "intensity" not in sweep.columns:
        raise DatasetError(
            f"received a cloud with columns {', '.join(sweep.columns)}; nuScenes files need an intensity: "
            "convert to a bag (a destination that ends in .mcap) instead"
        )
    wanted = [*range(3), sweep.columns.index("intensity")]
    if "ring" in sweep.columns:
        wanted.append(sweep.columns.index("ring"))
    points = np.full((len(sweep.points), 5), -1, dtype="<f4")
    points[:, : len(wanted)] = sweep.points[:, wanted]
    return points


def _filename(scene: str, channel: str, stamp_ns: int, suffix: str, is_keyframe: bool) -> str:
    folder = "samples" if is_keyframe else "sweeps"
    scene, channel = safe_name(scene), safe_name(channel)
    return f"{folder}/{channel}/{scene}__{channel}__{_microseconds(stamp_ns)}.{suffix}"


def _microseconds(stamp_ns: int) -> int:
    return stamp_ns // 1000
