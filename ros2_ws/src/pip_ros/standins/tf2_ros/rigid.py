"""Rigid transforms as (rotation quaternion x y z w, translation): the arithmetic that `tf2` brings along in C++."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from geometry_msgs.msg import Transform


class Rigid(NamedTuple):
    """`parent_SE3_child`: rotation (4,) as x y z w, translation (3,) in metres."""

    rotation: np.ndarray
    translation: np.ndarray

    @staticmethod
    def from_message(msg: Transform) -> Rigid:
        """Normalises the quaternion; one of zeros becomes NaN."""
        q, t = msg.rotation, msg.translation
        rotation = np.array([q.x, q.y, q.z, q.w])
        with np.errstate(invalid="ignore"):
            return Rigid(rotation / np.linalg.norm(rotation), np.array([t.x, t.y, t.z]))

    def to_message(self) -> Transform:
        msg = Transform()
        q, t = msg.rotation, msg.translation
        q.x, q.y, q.z, q.w = map(float, self.rotation)
        t.x, t.y, t.z = map(float, self.translation)
        return msg

    def __matmul__(self, other: Rigid) -> Rigid:
        return Rigid(
            _multiply(self.rotation, other.rotation), self.translation + _rotate(self.rotation, other.translation)
        )

    def inverse(self) -> Rigid:
        rotation = self.rotation * np.array([-1.0, -1.0, -1.0, 1.0])
        return Rigid(rotation, -_rotate(rotation, self.translation))


IDENTITY = Rigid(np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3))


def interpolate(first: Rigid, second: Rigid, ratio: float) -> Rigid:
    """Linear in translation, slerp along the shorter arc in rotation; `ratio` 0 gives `first`, 1 `second`."""
    a, b = first.rotation, second.rotation
    cosine = float(a @ b)
    b, cosine = (-b, -cosine) if cosine < 0 else (b, cosine)
    angle = np.arccos(min(cosine, 1.0))
    # Nearly equal rotations: the sines vanish, and the chord is as good as the arc.
    weights = (1 - ratio, ratio) if angle < 1e-6 else np.sin([(1 - ratio) * angle, ratio * angle]) / np.sin(angle)
    rotation = weights[0] * a + weights[1] * b
    translation = first.translation + ratio * (second.translation - first.translation)
    return Rigid(rotation / np.linalg.norm(rotation), translation)


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.append(vector, a[3] * b[3] - a[:3] @ b[:3])


def _rotate(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    twice = 2.0 * np.cross(rotation[:3], vector)
    return vector + rotation[3] * twice + np.cross(rotation[:3], twice)
