"""Where a command may write: never to what it reads."""

from __future__ import annotations

from pathlib import Path

from lidarloop_core.errors import ConfigError


def check_output(out: Path | None, *inputs: Path | None) -> None:
    """Refuses an output that is an input, by whatever path or link it is named.

    Args:
        out: file or folder to write; None for none.
        inputs: files and folders that are read; None for those not given.

    Raises:
        ConfigError: the output is one of the inputs.
    """
    for source in inputs:
        if out is not None and source is not None and _is_same(out, source):
            raise _refused(out, source, "is what is read")


def check_replaced(out: Path, *inputs: Path | None) -> None:
    """``check_output`` for a folder that is replaced with all that it holds.

    Raises:
        ConfigError: the output is one of the inputs, or holds one.
    """
    check_output(out, *inputs)
    for source in inputs:
        if source is not None and out.resolve() in source.resolve().parents:
            raise _refused(out, source, f"holds {source}, which is read")


def _is_same(out: Path, source: Path) -> bool:
    if out.exists() and source.exists():
        return out.samefile(source)
    return out.resolve() == source.resolve()


def _refused(out: Path, source: Path, reason: str) -> ConfigError:
    return ConfigError(f"received {out} to write to, which {reason}; expected another place than {source}")
