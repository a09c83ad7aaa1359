"""Values of configurations within their ranges, whoever sets them: the command line, a recipe, a program."""

from __future__ import annotations

from numbers import Real

from lidarloop_core.errors import ConfigError


def check_ranges(owner: str, **values: tuple[object, float, float]) -> None:
    """Refuses values out of range.

    Args:
        owner: names the configuration in errors.
        values: name → (a number, or a tuple of numbers, each of which is checked; lowest and highest value allowed).

    Raises:
        ConfigError: a value is no number, NaN, or out of its range.
    """
    for name, (value, low, high) in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            # NaN fails every comparison.
            if not isinstance(number, Real) or not low <= float(number) <= high:
                raise ConfigError(
                    f"{owner} received {name} {value}; expected {_described(low, high)}: correct "
                    f"--…{name.replace('_', '-')}"
                )


def _described(low: float, high: float) -> str:
    return f"a number of at least {low:g}" if high == float("inf") else f"a number from {low:g} to {high:g}"
