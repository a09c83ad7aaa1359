"""Distillation by torchrun's processes, for the tests: python -m torch.distributed.run --nproc-per-node 2 THIS OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from lidarloop_training.stages.distill import distill
from lidarloop_training.stages.trainer import new_accelerator
from tests.training.stages.test_distill_two_processes import (
    NOTHING,
    different_scenes,
    distillation_run,
    one_scene,
    teacher,
)


def main(out: Path) -> None:
    accelerator = new_accelerator()
    assert accelerator.num_processes == 2
    distill(distillation_run(out / "alike", 1), teacher(), one_scene(), NOTHING, accelerator=accelerator)
    for stop_after, name in ((None, "whole"), (2, "parts"), (None, "parts")):
        distill(
            distillation_run(out / name, 1),
            teacher(),
            different_scenes(),
            different_scenes(),
            accelerator=accelerator,
            stop_after=stop_after,
        )
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
