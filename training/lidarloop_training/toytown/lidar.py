"""The LiDAR: beams fired column by column while the ego and the actors move on; ``lidar_styles`` has the kinds.

A sweep is one turn, and its stamp the END of the turn, as in nuScenes. Each column is fired at its own time, from the
sensor's pose at that time, at actors where they are at that time; its points are reported in the sensor's frame at that
time. So a ``Scan`` is skewed by up to one period of ego-motion, as a raw driver hands it out. ``compensated`` takes the
ego's part out again, as data sets do before they publish a sweep; what moves by itself stays smeared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_training.toytown.lidar_styles import HDL32E, LidarStyle, Window
from lidarloop_training.toytown.streets.ground import COVERS
from lidarloop_training.toytown.streets.point_classes import FIRST_ACTOR, LABEL_OF_COVER
from lidarloop_training.toytown.town import Town

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

COLUMNS = ("x", "y", "z", "intensity", "ring")
_SLACK_M = 0.4
"""Round an actor, for what it moves while its columns are fired."""
_COVER_REFLECTIVITY = np.array([c.reflectivity for c in COVERS], np.float32)
_COVER_DROPOUT = np.array([c.dropout for c in COVERS], np.float32)


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


def compensated(scan: Scan, town: Town, stamp_s: float, period_s: float, style: LidarStyle = HDL32E) -> Float32Array:
    """(N, 5) the scan's points with x y z in the sensor's frame at the stamp, each moved by the ego's motion since."""
    times_s = style.pattern.firing_times(stamp_s, period_s)
    rotation, translation = town.ego_matrices(times_s)
    stamp_rotation, stamp_translation = (values[0] for values in town.ego_matrices(np.array([stamp_s])))
    place = style.ego_SE3_lidar.translation
    turn = stamp_rotation.T @ rotation
    shift = (turn @ place) + (translation - stamp_translation) @ stamp_rotation
    shift -= place
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


@dataclass(frozen=True)
class _Turn:
    """A turn's beams in the world.

    Attributes:
        style: the LiDAR.
        number: how many turns came before it.
        times_s: (A,) firing times, seconds.
        rotation: (A, 3, 3) of the ego at each column's time.
        origins: (A, 3) float32 of the beams.
        directions: (A, B, 3) float32 unit vectors.
    """

    style: LidarStyle
    number: int
    times_s: FloatArray
    rotation: FloatArray
    origins: Float32Array
    directions: Float32Array

    @staticmethod
    def of(town: Town, stamp_s: float, period_s: float, style: LidarStyle) -> _Turn:
        number = round(stamp_s / period_s)
        times_s = style.pattern.firing_times(stamp_s, period_s)
        rotation, translation = town.ego_matrices(times_s)
        origins = (rotation @ style.ego_SE3_lidar.translation + translation).astype(np.float32)
        directions = (style.pattern.directions(number) @ rotation.transpose(0, 2, 1)).astype(np.float32)
        return _Turn(style, number, times_s, rotation, origins, directions)


def scan(town: Town, stamp_s: float, period_s: float, rng: np.random.Generator, style: LidarStyle = HDL32E) -> Scan:
    """One sweep of the town."""
    turn = _Turn.of(town, stamp_s, period_s, style)
    returns = _cast_static(town, turn)
    touched = np.zeros(len(town.actors), np.int64)
    for index, window in _actors_in_reach(town, turn):
        touched[index] = _cast_actor(town, index, window, turn, returns)
    seen = np.bincount(returns.actor[returns.actor >= 0], minlength=len(town.actors))
    with np.errstate(divide="ignore", invalid="ignore"):
        visible = np.where(touched > 0, seen / touched, np.nan).astype(np.float32)
    return _receive(returns, visible, turn, rng)


def _cast_static(town: Town, turn: _Turn) -> _Returns:
    grid = turn.style.pattern.shape
    flat = turn.directions.reshape(-1, 3)
    starts = np.repeat(turn.origins, grid[1], axis=0)
    hits = town.static.cast(starts, flat, turn.style.max_range_m)
    mesh = town.static.mesh
    reflectivity, dropout = mesh.reflectivity[hits.face], mesh.dropout[hits.face]
    on_ground = np.flatnonzero((hits.face >= 0) & (hits.face < town.num_ground_faces))
    landed = starts[on_ground, :2] + hits.distance[on_ground, None] * flat[on_ground, :2]
    cover = town.ground.cover_at(landed)
    reflectivity[on_ground], dropout[on_ground] = _COVER_REFLECTIVITY[cover], _COVER_DROPOUT[cover]
    label = town.static_labels[hits.face]
    label[on_ground] = LABEL_OF_COVER[cover]
    cosine = np.abs(np.einsum("ij,ij->i", hits.normal, flat))
    return _Returns(
        hits.distance.reshape(grid),
        reflectivity.reshape(grid),
        dropout.reshape(grid),
        cosine.reshape(grid),
        np.full(grid, -1, np.int64),
        label.reshape(grid),
    )


def _actors_in_reach(town: Town, turn: _Turn) -> list[tuple[int, Window]]:
    """Actors within range, each with the columns and rings whose beams can meet it.

    An actor is met when the sensor points at it: the column is found from where it is at mid-sweep, and again from
    where it is at that column's time.
    """
    pattern, origins = turn.style.pattern, turn.origins
    middle = len(origins) // 2
    found = []
    for index, actor in enumerate(town.actors):
        x, y, z, _ = actor.poses(turn.times_s[middle : middle + 1])[0]
        reach_m = turn.style.max_range_m + actor.radius_m
        if np.hypot(x - origins[middle, 0], y - origins[middle, 1]) > reach_m:
            continue
        column = middle
        for _ in range(2):
            column = pattern.column_facing(turn.rotation[column].T @ (np.array([x, y, z]) - origins[column]))
            if not actor.track.moves:
                continue
            x, y, z, _ = actor.poses(turn.times_s[column : column + 1])[0]
        offset = turn.rotation[column].T @ (np.array([x, y, z]) - origins[column])
        found.append((index, pattern.window(offset, actor.radius_m + _SLACK_M, turn.number)))
    return found


def _cast_actor(town: Town, index: int, window: Window, turn: _Turn, returns: _Returns) -> int:
    """Casts the window's beams in the actor's own frame, keeps what is nearest, and counts the beams that meet it."""
    columns, rings = window
    pose = town.actors[index].poses(turn.times_s[columns])
    c, s = np.cos(pose[:, 3]), np.sin(pose[:, 3])
    actor_R_world = np.zeros((len(columns), 3, 3), np.float32)  # transposed: applied to row vectors
    actor_R_world[:, 0, 0], actor_R_world[:, 0, 1] = c, -s
    actor_R_world[:, 1, 0], actor_R_world[:, 1, 1], actor_R_world[:, 2, 2] = s, c, 1
    start = np.einsum("ni,nij->nj", turn.origins[columns] - pose[:, :3].astype(np.float32), actor_R_world)
    local = turn.directions[columns, rings] @ actor_R_world
    num_rings = local.shape[1]
    flat = local.reshape(-1, 3)
    caster = town.casters[index]
    hits = caster.cast(np.repeat(start, num_rings, axis=0), flat, turn.style.max_range_m)
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


def _receive(returns: _Returns, visible: Float32Array, turn: _Turn, rng: np.random.Generator) -> Scan:
    """The electronics: weak echoes are lost, ranges are noisy, intensity is quantised."""
    style, law, grid = turn.style, turn.style.intensity, returns.distance.shape
    loss, range_noise, intensity_noise = rng.random(grid), rng.standard_normal(grid), rng.standard_normal(grid)
    distance = np.where(np.isfinite(returns.distance), returns.distance, np.float32(1e6))
    echo = returns.reflectivity * returns.cosine / distance**2
    chance = (1 - np.exp(-style.sensitivity * echo)) * (1 - returns.dropout) * (1 - style.stray_loss)
    kept = (loss < chance) & (distance > style.min_range_m) & (distance < style.max_range_m)
    column, ring = np.nonzero(kept)
    measured = (distance[kept] + style.range_noise_m * range_noise[kept])[:, None]
    brightness = law.gain * returns.reflectivity[kept] * (law.grazing + (1 - law.grazing) * returns.cosine[kept])
    brightness *= (1 + distance[kept] / law.reach_m) ** -law.falloff
    intensity = np.clip(np.round(brightness * (1 + law.noise * intensity_noise[kept])), 0, 255)
    beams = style.pattern.directions(turn.number)[kept]
    points = np.column_stack([beams * measured, intensity, ring]).astype(np.float32)
    actor = returns.actor[kept]
    counts = np.bincount(actor[actor >= 0], minlength=len(visible))
    return Scan(points, column, actor, returns.label[kept], counts, visible)
