"""The zero-shot study's rows: each changes one thing, and states what the paper leads one to expect of it.

Expectations are the paper's (Khurana et al., CoRL 2024): its choices against their alternatives, the failure signatures
it names, and its table of modalities. It does not speak of our own steps: their rows report what each contributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lidarloop_core.labelling.lifting_config import LiftingConfig, full_lifting, paper_lifting
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_training.pseudolabel.job import RecipeName, Sensors, recipe
from lidarloop_training.toytown.faults.rates import FaultRates

Direction = Literal["worse", "better", "either"]
Figure = Literal["mAP", "ATE", "AOE"]

_OF_THE_PLACE = ("drives_right",)
"""Fields that say where a drive was recorded, and are no step."""

_REFINEMENT_OFF: dict[str, Any] = {
    **{f.name: False for f in dataclasses.fields(RefineConfig) if f.default is True and f.name not in _OF_THE_PLACE},
    "fill_gap_s": 0.0,
    "extend_s": 0.0,
    "min_hits": 1,
    "suppress_iou": 1.0,
}
"""Each step of refinement, switched off."""


@dataclass(frozen=True)
class Trial:
    """One row of the study.

    Attributes:
        name: name of the row.
        base: the recipe that it changes; its own row is what it is compared with.
        lifting: fields of the lifting that differ from the recipe's.
        refinement: fields of the refinement that differ from the recipe's; None leaves it out.
        fault_factor: factor on all rates of the degraded masks.
        sensors: sensors that it looks at.
        expect: how it should compare with its base, by ``figure``; "either" where nothing is claimed.
        figure: number by which they are compared.
        because: source of the expectation.
        reason: why ours differs, where it does.
    """

    name: str
    base: RecipeName
    lifting: Mapping[str, Any] = field(default_factory=dict)
    refinement: RefineConfig | Mapping[str, Any] | None = field(default_factory=dict)
    fault_factor: float = 1.0
    sensors: Sensors = "lidar-camera"
    expect: Direction = "worse"
    figure: Figure = "mAP"
    because: str = ""
    reason: str = ""

    def steps(self) -> tuple[LiftingConfig, RefineConfig | None]:
        """The recipe with the changes of this row."""
        lifting, refinement = recipe(self.base)
        lifting = dataclasses.replace(lifting, **self.lifting)
        if self.refinement is None or isinstance(self.refinement, RefineConfig):
            return lifting, self.refinement
        if refinement is None:
            assert not self.refinement, "this recipe has no refinement to change"
            return lifting, None
        return lifting, dataclasses.replace(refinement, **self.refinement)


_REASONS = {
    "paper, 1 frame": "standing things hardly gain here, and plain accumulation smears those that move: the toy town's "
    "sweeps are 0.1 s apart, nuScenes' 0.05 s",
    "full, 1 frame": "with smear dropped and boxes refitted over the drive, two more sweeps add little",
    "full, 10 frames": "points that moving things left in older sweeps are dropped, so that more sweeps do no harm",
    "paper, box fit": "a box stands at the outermost points, which are those of bleeding masks and of the ground; once "
    "these are cleaned away it beats the medoid: see full, lifting.center medoid",
    "paper, yaw by track": "toy-town vehicles keep to their lanes, so tracks only add noise to cars; two-wheelers, "
    "which the paper gives no heading, gain, and so does velocity",
    "paper, no erosion": "pictures and LiDAR share stamp and calibration to the bit: only the stand-in's loose masks "
    "bleed, by a pixel or two",
    "paper, erosion twice": "small masks keep their pixels where erosion would leave no point",
    "full, flawless shelf": "refinement has already repaired most of what the mask model got wrong",
}
"""Why rows differ from what was expected, where they do."""


def fault_rates(factor: float) -> FaultRates:
    """The usual rates, all times a factor."""
    usual = FaultRates()
    return FaultRates(**{name: min(1.0, factor * rate) for name, rate in vars(usual).items()})


def trials() -> tuple[Trial, ...]:
    """All rows; the two recipes come first."""
    rows = (
        Trial("paper", "paper", expect="either"),
        Trial("full", "full", expect="either"),
        *_frames(),
        *_centers(),
        *_headings(),
        *_erosion(),
        *_noise(),
        *_modalities(),
        *_own_steps(),
    )
    return tuple(dataclasses.replace(row, reason=_REASONS.get(row.name, "")) for row in rows)


_CANDIDATES: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"drop_walls": True}, {}),
    ({"overlap_iou": 0.1}, {}),
    ({}, {"double_iou": 0.1}),
    ({}, {"resemble": True}),
    ({}, {"end_empty": True}),
    ({}, {"weigh_views": True}),
    ({}, {"usual_size": True}),
    ({}, {"class_by_size": True}),
    ({}, {"vote_front": True}),
)
"""Fields of lifting and of refinement of each step that is not yet part of a recipe."""

ALL_CANDIDATES = "full, all candidates"


def candidates() -> tuple[Trial, ...]:
    """Steps for real drives that are not yet part of the full recipe, each switched on; then all, and all but each.

    A step becomes part of the recipe if it gains on real drives for tuning and does not cost on the toy town.
    """
    because = "answers what was found wrong on real drives"
    every = _together(_CANDIDATES)
    rows = [Trial(_on(*one), "full", *one, expect="either", because=because) for one in _CANDIDATES]
    rows.append(Trial(ALL_CANDIDATES, "full", *every, expect="either", because=because))
    for one in _CANDIDATES:
        others = _together(other for other in _CANDIDATES if other is not one)
        name = f"{ALL_CANDIDATES} but {_on(*one).removeprefix('full, ')}"
        rows.append(Trial(name, "full", *others, expect="either", because=because))
    return tuple(rows)


def _together(steps: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    lifting: dict[str, Any] = {}
    refinement: dict[str, Any] = {}
    for one, other in steps:
        lifting |= one
        refinement |= other
    return lifting, refinement


def _on(lifting: Mapping[str, Any], refinement: Mapping[str, Any]) -> str:
    named = [f"lifting.{_as_option(*item)}" for item in lifting.items()]
    named += [f"refine.{_as_option(*item)}" for item in refinement.items()]
    return f"full, {' '.join(named)}"


def _frames() -> list[Trial]:
    sparse = "the paper densifies: one sweep leaves objects too thin"
    smear = "the paper warns of motion artefacts when more are accumulated"
    rows: list[Trial] = []
    recipes: tuple[RecipeName, ...] = ("paper", "full")
    for base in recipes:
        rows += [
            Trial(f"{base}, 1 frame", base, {"num_sweeps": 1}, because=sparse),
            Trial(f"{base}, 5 frames", base, {"num_sweeps": 5}, expect="either", because="near the paper's optimum"),
            Trial(f"{base}, 10 frames", base, {"num_sweeps": 10}, because=smear),
        ]
    return rows


def _centers() -> list[Trial]:
    return [
        Trial(
            "paper, mean", "paper", {"center": "mean"}, because="the paper takes the medoid: robust to bleeding masks"
        ),
        Trial(
            "paper, box fit",
            "paper",
            {"center": "box_fit"},
            expect="better",
            because="radial bias of the medoid is a failure signature of the paper",
        ),
    ]


def _headings() -> list[Trial]:
    turning = "the paper: lanes do not give the heading of turning vehicles (open question 2)"
    return [
        Trial("paper, yaw 0", "paper", {"yaw": ()}, figure="AOE", because="the paper takes the lane's direction"),
        Trial("paper, yaw by box fit", "paper", {"yaw": ("box_fit",)}, expect="either", figure="AOE", because=turning),
        Trial(
            "paper, yaw by track",
            "paper",
            refinement=RefineConfig(**{**_REFINEMENT_OFF, "smooth": True}),
            expect="better",
            figure="AOE",
            because=turning,
        ),
    ]


def _erosion() -> list[Trial]:
    return [
        Trial("paper, no erosion", "paper", {"erosion_px": 0}, because="the paper erodes: masks bleed at their edge"),
        Trial("paper, erosion twice", "paper", {"erosion_px": 2}, because="the paper erodes once: small masks vanish"),
    ]


def _noise() -> list[Trial]:
    better = "the paper: a better mask model (Detic, GroundingDINO) gives better labels"
    rows: list[Trial] = []
    recipes: tuple[RecipeName, ...] = ("paper", "full")
    for base in recipes:
        rows += [
            Trial(f"{base}, flawless shelf", base, fault_factor=0.0, expect="better", because=better),
            Trial(f"{base}, shelf twice as bad", base, fault_factor=2.0, because=better),
        ]
    return rows


def _modalities() -> list[Trial]:
    both = "the paper's table: LiDAR and pictures together beat either alone"
    return [
        Trial("LiDAR only", "full", sensors="lidar", because=both),
        Trial("camera only, paper", "paper", sensors="camera", because=both),
        Trial("camera only, full", "full", sensors="camera", because=both),
    ]


def _own_steps() -> list[Trial]:
    """Ours: each step of lifting as the paper has it, each step of refinement switched off."""
    paper, full = paper_lifting(), full_lifting()
    lifting = {f.name: getattr(paper, f.name) for f in dataclasses.fields(LiftingConfig)}
    lifting = {name: value for name, value in lifting.items() if value != getattr(full, name)}
    earns, not_in_paper = "ours: must earn its place", "not in the paper"
    return [
        Trial("full, not refined", "full", refinement=None, because=earns),
        Trial("paper, refined", "paper", refinement=RefineConfig(), expect="better", because=earns),
        *(
            Trial(
                f"full, lifting.{_as_option(name, value)}", "full", {name: value}, expect="either", because=not_in_paper
            )
            for name, value in lifting.items()
        ),
        *(
            Trial(
                f"full, refine.{_as_option(name, value)}",
                "full",
                refinement={name: value},
                expect="either",
                because=not_in_paper,
            )
            for name, value in _REFINEMENT_OFF.items()
        ),
    ]


def _as_option(name: str, value: Any) -> str:
    """The option as the command line has it, by which each row can be had."""
    return f"{name.replace('_', '-')} {' '.join(value) if isinstance(value, tuple) else value}"
