"""``make fuzz``: hostile inputs at every boundary where data from outside enters, and a table of what came of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.fuzz.boundaries import BOUNDARIES
from tests.fuzz.guard import sandbox
from tests.fuzz.outcome import FAULTS, KINDS, Outcome, outcome_of, random_of
from tests.fuzz.workers import Batch, make_case, run_all

_BATCH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the inputs; 1 if any of them was a fault."""
    options = _options(arguments)
    if options.case is not None:
        return _one(options.boundary[0], options.seed, options.case)
    start_s = time.monotonic()
    found: dict[str, list[Outcome]] = {name: [] for name in options.boundary}
    for name, outcome in run_all(_batches(options), options.num_workers):
        found[name].append(outcome)
    print("\n".join(table(found)))
    print(f"seed {options.seed}, {time.monotonic() - start_s:.0f} s")
    faults = list(fault_lines(found, options.seed))
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--num-inputs", type=int, default=6000, help="of all boundaries together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--boundary", nargs="+", choices=list(BOUNDARIES), default=list(BOUNDARIES))
    parser.add_argument("--case", type=int, help="runs this input of the boundary alone, with its traceback")
    parser.add_argument("--num-workers", type=int, default=2)
    return parser.parse_args(arguments)


def _batches(options: argparse.Namespace) -> list[Batch]:
    """The inputs shared out by the boundaries' weights, rounded up."""
    total = sum(BOUNDARIES[name] for name in options.boundary)
    batches = []
    for name in options.boundary:
        num_inputs = -(-options.num_inputs * BOUNDARIES[name] // total)
        for first in range(0, num_inputs, _BATCH):
            batches.append(Batch(name, options.seed, first, min(first + _BATCH, num_inputs)))
    return batches


def _one(boundary: str, seed: int, index: int) -> int:
    with sandbox() as place:
        outcome = outcome_of(index, make_case(boundary), random_of(seed, boundary, index), place, show=True)
    print(outcome)
    return int(outcome.kind in FAULTS)


def table(found: dict[str, list[Outcome]]) -> list[str]:
    """One line for each boundary, and one for all: counts by kind, the slowest input, the largest peak."""
    header = (
        f"{'boundary':<14}{'inputs':>8}" + "".join(f"{kind:>11}" for kind in KINDS) + f"{'slowest s':>11}{'peak MB':>9}"
    )
    everything = [outcome for outcomes in found.values() for outcome in outcomes]
    return [header, *(_row(name, outcomes) for name, outcomes in found.items()), _row("all", everything)]


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    counts = Counter(outcome.kind for outcome in outcomes)
    slowest_s = max((outcome.seconds for outcome in outcomes), default=0)
    peak_mb = max((outcome.peak_mb for outcome in outcomes), default=0)
    cells = "".join(f"{counts[kind]:>11}" for kind in KINDS)
    return f"{name:<14}{len(outcomes):>8}{cells}{slowest_s:>11.2f}{peak_mb:>9.0f}"


def fault_lines(found: dict[str, list[Outcome]], seed: int) -> list[str]:
    """Faults at the same place counted together, each with the command that repeats one of them."""
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for name, outcomes in found.items():
        for outcome in outcomes:
            if outcome.kind in FAULTS:
                place = f"{outcome.detail.partition(':')[0]} {outcome.detail.rpartition('(')[2]}"
                groups.setdefault((name, outcome.kind, place), []).append(outcome)
    return [
        f"{len(same):>5} × {name} {kind}: {same[0].detail}\n"
        f"        python -m tests.fuzz --seed {seed} --boundary {name} --case {min(o.index for o in same)}"
        for (name, kind, _), same in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1])))
    ]


if __name__ == "__main__":
    sys.exit(main())
