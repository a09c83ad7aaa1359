"""A run of torchrun's processes, for the tests: python -m torch.distributed.run --nproc-per-node 2 THIS OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.trainer import fit, new_accelerator
from tests.training.stages.test_two_processes import (
    contrast_run,
    contrast_sources,
    counting_run,
    detection_run,
    sources,
)


def main(out: Path) -> None:
    accelerator = new_accelerator()
    assert accelerator.num_processes == 2

    def run(config: TrainConfig, **options: int) -> None:
        fit(config, *sources(), accelerator=accelerator, **options)

    run(counting_run(out / "counting", batch_size=2))
    fit(contrast_run(out / "contrast", batch_size=2), *contrast_sources(), accelerator=accelerator)
    run(detection_run(out / "whole"))
    run(detection_run(out / "parts"), stop_after=2)
    run(detection_run(out / "parts"))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
