"""Riders and their mounts: one object, as nuScenes, KITTI and Waymo label them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


def mounts(
    boxes: Float32Array, is_person: npt.NDArray[np.bool_], is_mount: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """(M,) int64, for each person the index of the box that carries it; -1 for all others.

    A rider's middle is above the mount and its feet are beside it: the person's middle column lies within the mount's
    box, its lower end between the mount's upper and lower end, and it overtops the mount. Of several mounts it sits on
    the one whose middle is nearest, and each mount carries the one person nearest to its middle.

    Args:
        boxes: (M, 4) x_min, y_min, x_max, y_max, pixels, y downwards.
        is_person: (M,) bool, whether a box is a person.
        is_mount: (M,) bool, whether a box may carry one, e.g. a bicycle.
    """
    carrying = np.full(len(boxes), -1, np.int64)
    people, carriers = np.flatnonzero(is_person), np.flatnonzero(is_mount)
    if not len(people) or not len(carriers):
        return carrying
    person, mount = boxes[people][:, None], boxes[carriers][None]
    middle = (person[..., 0] + person[..., 2]) / 2
    height = mount[..., 3] - mount[..., 1]
    fits = (middle >= mount[..., 0]) & (middle <= mount[..., 2])
    fits &= (person[..., 1] < mount[..., 1]) & (person[..., 3] > mount[..., 1])
    fits &= person[..., 3] <= mount[..., 3] + 0.1 * height
    away = np.where(fits, np.abs(middle - (mount[..., 0] + mount[..., 2]) / 2), np.inf)
    while np.isfinite(away).any():
        i, j = np.unravel_index(int(np.argmin(away)), away.shape)
        carrying[people[i]] = carriers[j]
        away[i, :] = np.inf
        away[:, j] = np.inf
    return carrying
