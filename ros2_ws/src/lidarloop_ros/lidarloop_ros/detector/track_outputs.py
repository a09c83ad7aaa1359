"""Tracks: detections followed over time, published with ids and velocities."""

from __future__ import annotations

import math

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray

from lidarloop_core.io.messages import boxes_cloud_message, stamp_ns
from lidarloop_core.tracking.tracker import Tracker, TrackerConfig
from lidarloop_ros.detector.pipeline import CloudResult
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.messages.serialised import detections_bytes


class TrackOutput:
    """Publishes ``~/tracks`` (vision_msgs/Detection3DArray, ids set) and ``~/track_boxes`` (a point per track with its
    velocity, ``id`` and ``age_s``), in the cloud's frame. For a cloud without ego-motion nothing is published.

    Used by the detection thread, after the detections are published.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._tracks = node.create_lifecycle_publisher(Detection3DArray, "~/tracks", 10)
        self._boxes = node.create_lifecycle_publisher(PointCloud2, "~/track_boxes", 10)
        self._tracker = Tracker()

    def publish(self, result: CloudResult, header: Header) -> None:
        """Updates the tracks with a cloud's detections, and publishes them with the cloud's header."""
        world_SE3_lidar = result.world_SE3_lidar
        if world_SE3_lidar is None:
            return
        velocity_known = bool(np.isfinite(result.boxes.velocities).all())
        self._tracker.config = TrackerConfig() if velocity_known else TrackerConfig(velocity_mps=math.inf)
        time_ns = stamp_ns(header)
        tracks = self._tracker.update(time_ns, result.boxes.righted(world_SE3_lidar))
        boxes = tracks.boxes.transformed(world_SE3_lidar.inverse())
        ids = [str(number) for number in tracks.ids.tolist()]
        extra = {"id": tracks.ids.astype(np.float32), "age_s": tracks.ages_s.astype(np.float32)}
        self._tracks.publish(detections_bytes(boxes, time_ns, header.frame_id, ids))
        self._boxes.publish(boxes_cloud_message(boxes, extra, time_ns, header.frame_id, message_type))

    def clear(self) -> None:
        """Ends all tracks, after a jump in time."""
        self._tracker.clear()

    def destroy(self) -> None:
        for publisher in (self._tracks, self._boxes):
            self._node.destroy_lifecycle_publisher(publisher)
