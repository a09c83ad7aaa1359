"""Warm-up of lifting, so that compilation is done before the first real frame."""

from __future__ import annotations

import numpy as np

from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting.synthetic_scene import synthetic_scene
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import LaneMap

_NUM_OBJECTS = 40


def warm_up(config: LiftingConfig) -> None:
    """Lifts a synthetic scene: a tenth of a second if all is compiled already, else about twenty."""
    sample, found = synthetic_scene(_NUM_OBJECTS, config.num_sweeps)
    along = np.array([[-100.0, 0.0, 0.0], [0.0, 0.0, 0.0], [100.0, 0.0, 0.0]])
    across = along[:, [1, 0, 2]]
    lanes = LaneMap((along, across), ("along", "across"), in_intersection=(False, True))
    lift(sample, found, ShapePriors.paper(), config, LaneLookup(lanes))
