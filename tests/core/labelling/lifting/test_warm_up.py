from __future__ import annotations

import subprocess
import sys

# A process of its own: nothing has been compiled, or loaded from the cache, before.
PROGRAM = """
import sys
from numba.core.registry import CPUDispatcher
from lidarloop_core.labelling.lifting_config import full_lifting
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting.warm_up import warm_up
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_training.pseudolabel.mask_models.toytown import ToyTownMaskModel
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.mask_model import DegradedMasks

def compiled():
    modules = [module for name, module in sys.modules.items() if name.startswith("lidarloop_core.labelling")]
    functions = {f"{m.__name__}.{n}": f for m in modules for n, f in vars(m).items() if isinstance(f, CPUDispatcher)}
    return {name: len(function.signatures) for name, function in functions.items()}

drive = ToyTownDrive(2100, duration_s=1.0, num_sweeps=3)
sample = drive[5]
masks = ToyTownMaskModel(DegradedMasks(drive)).find(sample.token, sample.cameras)
found = dict(zip([camera.name for camera in sample.cameras], masks, strict=True))
warm_up(full_lifting())
before = compiled()
labels, _ = lift(sample, found, ShapePriors.paper(), full_lifting(), LaneLookup(sample.lane_map))
assert len(labels) and len(before) > 5, (len(labels), before)
after = compiled()
print({name: (before.get(name, 0), number) for name, number in after.items() if number != before.get(name, 0)})
"""


def test_a_real_frame_compiles_nothing_more() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "{}"
