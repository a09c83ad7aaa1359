"""Bit counting as one machine instruction, for compiled code.

Arguments and results are uint64: numba turns uint64 beside int64 into float64, which loses bits.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic


@intrinsic
def popcount(_typing_context: Any, word: Any) -> Any:
    """Number of bits set in a uint64, as a uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def lowest_bit(_typing_context: Any, word: Any) -> Any:
    """Place of the lowest bit set in a uint64, as a uint64; 64 where none is set."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), generate
