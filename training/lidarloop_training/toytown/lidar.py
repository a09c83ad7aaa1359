"""The spinning LiDAR: 32 beams fired column by column while the ego and the actors move on.

It turns clockwise seen from above, from straight behind over left, front and right, once per sweep; the sweep's stamp
is the END of the turn, as in nuScenes. Each column is fired at its own time, from the sensor's pose at that time, at
actors where they are at that time; its points are reported in the sensor's frame at that time. So a ``Scan`` is skewed
by up to one period of ego-motion, as a raw driver hands it out. ``compensated`` takes the ego's part out again, as data
sets do before they publish a sweep; what moves by itself stays smeared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.toytown.population.actors import Actor
from lidarloop_training.toytown.streets.ground import COVERS
from lidarloop_training.toytown.streets.point_classes import FIRST_ACTOR, LABEL_OF_COVER
from lidarloop_training.toytown.town import Town

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

COLUMNS = ("x", "y", "z", "intensity", "ring")
NUM_BEAMS = 32
NUM_AZIMUTHS = 1084
ELEVATIONS_RAD = np.radians(np.linspace(-30.67, 10.67, NUM_BEAMS))
"""Those of an HDL-32E, ring 0 the lowest."""
AZIMUTHS_RAD = np.pi - 2 * np.pi * (np.arange(NUM_AZIMUTHS) + 0.5) / NUM_AZIMUTHS
EGO_SE3_LIDAR = SE3(np.eye(3), np.array([0.9, 0.0, 1.84]))
MAX_RANGE_M = 80.0
RANGE_NOISE_M = 0.02
_MIN_RANGE_M = 1.0
_SENSITIVITY = 1.1e5
_STRAY_LOSS = 0.015
_COVER_REFLECTIVITY = np.array([c.reflectivity for c in COVERS], np.float32)
_COVER_DROPOUT = np.array([c.dropout for c in COVERS], np.float32)

_DIRECTIONS = np.stack(
    [
        np.cos(AZIMUTHS_RAD)[:, None] * np.cos(ELEVATIONS_RAD),
        np.sin(AZIMUTHS_RAD)[:, None] * np.cos(ELEVATIONS_RAD),
        np.ones((NUM_AZIMUTHS, 1)) * np.sin(ELEVATIONS_RAD),
    ],
    axis=-1,
)
"""(A, B, 3) beams in the sensor's frame."""


@dataclass(frozen=True)
class Scan:
    """What one turn of the sensor brought back.

    Attributes:
        points: (N, 5) float32, columns ``COLUMNS``, in firing order.
        azimuth_index: (N,) int64 column each point was fired in.
        actor: (N,) int64 index of the actor hit; -1 for ground and scenery.
        label: (N,) uint8 index into ``POINT_CLASSES`` of what was hit.
        num_points: (M,) int64 returns of each actor.
        visible_share: (M,) float32 share of the beams on each actor that nothing else stopped; NaN where none met it.
    """

    points: Float32Array
    azimuth_index: npt.NDArray[np.int64]
    actor: npt.NDArray[np.int64]
    label: npt.NDArray[np.uint8]
    num_points: npt.NDArray[np.int64]
    visible_share: Float32Array


def firing_times(stamp_s: float, period_s: float) -> FloatArray:
    """(A,) seconds at which the columns of the sweep stamped ``stamp_s`` are fired; the last one at the stamp."""
    return stamp_s - period_s + period_s * np.arange(1, NUM_AZIMUTHS + 1) / NUM_AZIMUTHS


def compensated(scan: Scan, town: Town, stamp_s: float, period_s: float) -> Float32Array:
    """(N, 5) the scan's points with x y z in the sensor's frame at the stamp, each moved by the ego's motion since."""
    rotation, translation = town.ego_matrices(firing_times(stamp_s, period_s))
    stamp_rotation, stamp_translation = rotation[-1], translation[-1]  # the last column is fired at the stamp
    turn = stamp_rotation.T @ rotation
    shift = (turn @ EGO_SE3_LIDAR.translation) + (translation - stamp_translation) @ stamp_rotation
    shift -= EGO_SE3_LIDAR.translation
    points = scan.points.copy()
    xyz = np.einsum("nij,nj->ni", turn[scan.azimuth_index], scan.points[:, :3])
    points[:, :3] = xyz + shift[scan.azimuth_index]
    return points


@dataclass
class _Returns:
    """Nearest hits so far, on the (A, B) grid of beams."""

    distance: Float32Array
    reflectivity: Float32Array
    dropout: Float32Array
    cosine: Float32Array
    actor: npt.NDArray[np.int64]
    label: npt.NDArray[np.uint8]


def scan(town: Town, stamp_s: float, period_s: float, rng: np.random.Generator) -> Scan:
    """One sweep of the town."""
    times_s = firing_times(stamp_s, period_s)
    rotation, translation = town.ego_matrices(times_s)
    origins = (rotation @ EGO_SE3_LIDAR.translation + translation).astype(np.float32)
    directions = (_DIRECTIONS @ rotation.transpose(0, 2, 1)).astype(np.float32)
    returns = _cast_static(town, origins, directions)
    touched = np.zeros(len(town.actors), np.int64)
    for index, window in _actors_in_reach(town, times_s, rotation, origins):
        touched[index] = _cast_actor(town, index, window, times_s, origins, directions, returns)
    seen = np.bincount(returns.actor[returns.actor >= 0], minlength=len(town.actors))
    with np.errstate(divide="ignore", invalid="ignore"):
        visible = np.where(touched > 0, seen / touched, np.nan).astype(np.float32)
    return _receive(returns, visible, rng)


def _cast_static(town: Town, origins: Float32Array, directions: Float32Array) -> _Returns:
    flat = directions.reshape(-1, 3)
    starts = np.repeat(origins, NUM_BEAMS, axis=0)
    hits = town.static.cast(starts, flat, MAX_RANGE_M)
    mesh = town.static.mesh
    reflectivity, dropout = mesh.reflectivity[hits.face], mesh.dropout[hits.face]
    on_ground = np.flatnonzero((hits.face >= 0) & (hits.face < town.num_ground_faces))
    landed = starts[on_ground, :2] + hits.distance[on_ground, None] * flat[on_ground, :2]
    cover = town.ground.cover_at(landed)
    reflectivity[on_ground], dropout[on_ground] = _COVER_REFLECTIVITY[cover], _COVER_DROPOUT[cover]
    label = town.static_labels[hits.face]
    label[on_ground] = LABEL_OF_COVER[cover]
    cosine = np.abs(np.einsum("ij,ij->i", hits.normal, flat))
    grid = (NUM_AZIMUTHS, NUM_BEAMS)
    return _Returns(
        hits.distance.reshape(grid),
        reflectivity.reshape(grid),
        dropout.reshape(grid),
        cosine.reshape(grid),
        np.full(grid, -1, np.int64),
        label.reshape(grid),
    )


def _actors_in_reach(
    town: Town, times_s: FloatArray, rotation: FloatArray, origins: Float32Array
) -> list[tuple[int, tuple[npt.NDArray[np.int64], slice]]]:
    """Actors within range, each with the columns and rings whose beams can meet it.

    An actor is met when the sensor points at it: the column is found from where it is at mid-sweep, and again from
    where it is at that column's time.
    """
    middle = NUM_AZIMUTHS // 2
    found = []
    for index, actor in enumerate(town.actors):
        x, y, z, _ = actor.poses(times_s[middle : middle + 1])[0]
        if np.hypot(x - origins[middle, 0], y - origins[middle, 1]) > MAX_RANGE_M + actor.radius_m:
            continue
        column = middle
        for _ in range(2):
            column = _column_facing(rotation[column].T @ (np.array([x, y, z]) - origins[column]))
            if not actor.track.moves:
                continue
            x, y, z, _ = actor.poses(times_s[column : column + 1])[0]
        found.append((index, _window(actor, rotation[column].T @ (np.array([x, y, z]) - origins[column]))))
    return found


def _column_facing(offset: FloatArray) -> int:
    turn = (np.pi - np.arctan2(offset[1], offset[0])) / (2 * np.pi)
    return int(turn * NUM_AZIMUTHS) % NUM_AZIMUTHS


def _window(actor: Actor, offset: FloatArray) -> tuple[npt.NDArray[np.int64], slice]:
    radius = actor.radius_m + 0.4
    distance = float(np.linalg.norm(offset))
    flat = float(np.hypot(offset[0], offset[1]))
    if flat <= radius + 0.5:
        return np.arange(NUM_AZIMUTHS), slice(0, NUM_BEAMS)
    centre = (np.pi - np.arctan2(offset[1], offset[0])) / (2 * np.pi) * NUM_AZIMUTHS
    half_columns = np.arcsin(radius / flat) / (2 * np.pi) * NUM_AZIMUTHS
    columns = np.arange(int(centre - half_columns) - 1, int(centre + half_columns) + 2) % NUM_AZIMUTHS
    elevation, half = np.arcsin(offset[2] / distance), np.arcsin(radius / distance)
    first, last = np.searchsorted(ELEVATIONS_RAD, (elevation - half, elevation + half))
    return columns, slice(int(first), int(last))


def _cast_actor(
    town: Town,
    index: int,
    window: tuple[npt.NDArray[np.int64], slice],
    times_s: FloatArray,
    origins: Float32Array,
    directions: Float32Array,
    returns: _Returns,
) -> int:
    """Casts the window's beams in the actor's own frame, keeps what is nearest, and counts the beams that meet it."""
    columns, rings = window
    pose = town.actors[index].poses(times_s[columns])
    c, s = np.cos(pose[:, 3]), np.sin(pose[:, 3])
    turn = np.zeros((len(columns), 3, 3), np.float32)  # world to actor, transposed: applied to row vectors
    turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1], turn[:, 2, 2] = c, -s, s, c, 1
    start = np.einsum("ni,nij->nj", origins[columns] - pose[:, :3].astype(np.float32), turn)
    local = directions[columns, rings] @ turn
    num_rings = local.shape[1]
    flat = local.reshape(-1, 3)
    caster = town.casters[index]
    hits = caster.cast(np.repeat(start, num_rings, axis=0), flat, MAX_RANGE_M)
    block = returns.distance[columns, rings]
    distance = hits.distance.reshape(block.shape)
    row, ring = np.nonzero(distance < block)
    at = (columns[row], ring + rings.start)
    chosen = row * num_rings + ring
    face = hits.face[chosen]
    returns.distance[at] = distance[row, ring]
    returns.reflectivity[at] = caster.mesh.reflectivity[face]
    returns.dropout[at] = caster.mesh.dropout[face]
    returns.cosine[at] = np.abs(np.einsum("ij,ij->i", hits.normal[chosen], flat[chosen]))
    returns.actor[at] = index
    returns.label[at] = FIRST_ACTOR + town.actors[index].label
    return int((hits.face >= 0).sum())


def _receive(returns: _Returns, visible: Float32Array, rng: np.random.Generator) -> Scan:
    """The electronics: weak echoes are lost, ranges are noisy, intensity is quantised."""
    grid = returns.distance.shape
    loss, range_noise, intensity_noise = rng.random(grid), rng.standard_normal(grid), rng.standard_normal(grid)
    distance = np.where(np.isfinite(returns.distance), returns.distance, np.float32(1e6))
    echo = returns.reflectivity * returns.cosine / distance**2
    chance = (1 - np.exp(-_SENSITIVITY * echo)) * (1 - returns.dropout) * (1 - _STRAY_LOSS)
    kept = (loss < chance) & (distance > _MIN_RANGE_M) & (distance < MAX_RANGE_M)
    column, ring = np.nonzero(kept)
    measured = (distance[kept] + RANGE_NOISE_M * range_noise[kept])[:, None]
    brightness = 255 * returns.reflectivity[kept] * (0.35 + 0.65 * returns.cosine[kept])
    intensity = np.clip(np.round(brightness * (1 + 0.08 * intensity_noise[kept])), 0, 255)
    points = np.column_stack([_DIRECTIONS[kept] * measured, intensity, ring]).astype(np.float32)
    actor = returns.actor[kept]
    counts = np.bincount(actor[actor >= 0], minlength=len(visible))
    return Scan(points, column, actor, returns.label[kept], counts, visible)
