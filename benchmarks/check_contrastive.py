"""What contrastive pre-training promises, measured: prints a table and writes out/checks/contrastive.json.

python -m benchmarks.check_contrastive             # exits 1 if a row falls short; FULL=1 runs the long study first

Rows of the study are recomputed from results/contrastive.jsonl, which ``benchmarks.contrastive.study`` writes; a row
without stored results falls short. A small part of the study runs anew each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import tyro

from benchmarks.checks import OUT, REAL_DATA, Context, Row, run_checks, runs_studies
from benchmarks.contrastive import tables, units
from benchmarks.contrastive.arms import ARMS
from benchmarks.contrastive.live import live_rows
from benchmarks.contrastive.study import RESULTS, Study, run_study
from benchmarks.records import read
from benchmarks.tested import rows_of_tests
from benchmarks.toytown.painting_study import check_painting
from benchmarks.toytown.probe import check_looks

TESTED = {
    "InfoNCE, negative sets and ties: their formulas": "tests/training/losses/test_contrastive.py",
    "Barlow Twins: its formula": "tests/training/losses/test_barlow_twins.py",
    "masked BEV: Chamfer distance and density": "tests/training/losses/test_masked_bev.py",
    "ResNet: another implementation": "tests/training/models/image/test_resnet.py",
    "Swin: another implementation": "tests/training/models/image/test_swin.py",
    "MoCo v3 and EsViT: names of their checkpoints": "tests/training/models/image/test_public.py",
    "image encoders: levels, taps, hashes": "tests/training/models/image/test_encoder.py",
    "image features: once for each picture and encoder": "tests/training/tasks/pretext/test_image_features.py",
    "units, points and targets through the random changes": "tests/training/tasks/pretext/test_dataset.py",
    "loss at the start, gradients, resuming, init parts": "tests/training/tasks/pretext/test_task.py",
    "masked reconstruction": "tests/training/tasks/pretext/masked/test_masked.py",
    "image encoder on dense crops": "tests/training/tasks/pretext/pictures/test_pictures.py",
    "two processes equal one": "tests/training/stages/test_two_processes.py",
}


def check_tests(_: Context) -> Iterator[Row]:
    """Each file's tests; those that need what is not here skip and say so."""
    yield from rows_of_tests(TESTED)


def check_units(context: Context) -> Iterator[Row]:
    """Units of toy-town and real clouds: stages, time, and what they keep and merge."""
    yield from units.rows(context)


def check_study(context: Context) -> Iterator[Row]:
    """The study's tables, from its records."""
    if runs_studies():
        run_study(Study(folder=context.out / "contrastive-study"), ARMS, RESULTS)
    yield from tables.rows(read(RESULTS))


def check_live(context: Context) -> Iterator[Row]:
    """The study's way from drives to scores, with a few steps on a few drives."""
    yield from live_rows(context.scratch)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/contrastive.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    checks = (check_tests, check_looks, check_painting, check_units, check_study, check_live)
    return run_checks("contrastive", checks, data=data, out=out)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
