"""The ``lidarloop`` command.

Each installed package brings its sub-commands through the entry-point group ``lidarloop.commands``. The module behind
one is imported only when that command is called: an onboard install shows only what it can do, and starts fast. The
lines of ``lidarloop --help`` are read from the source files.

A command is a function with typed keyword arguments, read by tyro from its signature and docstring.
It returns None or an exit code. Wrong usage exits with 2, a ``LidarloopError`` prints one line and exits with 1.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lidarloop_core import __version__
from lidarloop_core.errors import LidarloopError, one_line

# Order of the pipeline; commands not named here come last, by name.
PIPELINE = (
    "convert", "pseudolabel", "corrections", "paint", "pretrain", "train", "distill", "self-train", "adapt",
    "evaluate", "export", "optimise", "parity", "build-engine", "replay", "bench", "view", "doctor",
)  # fmt: skip


def commands() -> dict[str, EntryPoint]:
    """The installed sub-commands, in pipeline order."""
    found = {point.name: point for point in entry_points(group="lidarloop.commands")}
    return dict(sorted(found.items(), key=lambda item: (_position(item[0]), item[0])))


def _position(name: str) -> int:
    first, *_ = name.split()
    return PIPELINE.index(first) if first in PIPELINE else len(PIPELINE)


def summary(command: EntryPoint) -> str:
    """The first line of a command's docstring; its module is parsed, not imported.

    Args:
        command: a function of a module that has a source file.

    Returns:
        The line, or "" where there is no source or no docstring.
    """
    source = _source_file(command.module)
    if source is None:
        return ""
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == command.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _source_file(module: str) -> Path | None:
    """Looks a module up below its top-level package: ``find_spec`` of the module itself would import its parents."""
    package, *inner = module.split(".")
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, *inner).with_suffix(".py")
        if path.is_file():
            return path
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one sub-command; returns the exit code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    available = commands()
    if not args or args[0] in ("-h", "--help"):
        print(_usage(available))
        return 0 if args else 2
    if args[0] == "--version":
        print(f"lidarloop {__version__}")
        return 0
    if " ".join(args[:2]) in available:  # a command of two words, e.g. `bench model`
        args = [" ".join(args[:2]), *args[2:]]
    if args[0] not in available:
        print(
            f"lidarloop: received command '{one_line(args[0])}'; expected one of: {', '.join(available)}. "
            "Commands of the training side come with `pip install lidarloop[train]`.",
            file=sys.stderr,
        )
        return 2
    return _run(args[0], available[args[0]].load(), args[1:])


def _run(name: str, command: Callable[..., int | None], args: Sequence[str]) -> int:
    try:
        with sigterm_as_interrupt():
            return _parsed(name, command, args)() or 0
    except LidarloopError as error:
        print(f"lidarloop {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"lidarloop {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written to: it names the file itself
        print(f"lidarloop {name}: {one_line(str(error))}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Lets a SIGTERM unwind the stack as Ctrl-C does: child processes are ended, no temporary file is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def interrupt(*_: object) -> None:
        if os.getpid() == owner:
            raise KeyboardInterrupt
        # A forked worker inherits this handler; its pool ends it by this very signal.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parsed(name: str, command: Callable[..., int | None], args: Sequence[str]) -> Callable[[], int | None]:
    """The command with its arguments bound; wrong usage gives one line in place of tyro's box."""
    import tyro

    @functools.wraps(command)
    def bind(*positional: Any, **options: Any) -> Callable[[], int | None]:
        return functools.partial(command, *positional, **options)

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(bind, prog=f"lidarloop {name}", args=args)
    except SystemExit:
        if message := _unboxed(complaint.getvalue()):
            print(f"lidarloop {name}: {one_line(message)}", file=sys.stderr)
        raise


def _unboxed(box: str) -> str:
    """The words in one of tyro's boxes: its title left out, its sections set apart by semicolons.

    Where the terminal's encoding is not UTF-8, the box is a title, dashes and indented lines.
    """
    lines = [line.strip(" │") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    words = lines if "╭" in box else lines[1:]
    sections = " ".join(line if line.strip("─-") else "─" for line in words).split("─")
    return "; ".join(section.strip(" :") for section in sections if section.strip(" :"))


def _usage(available: dict[str, EntryPoint]) -> str:
    lines = ["usage: lidarloop COMMAND [ARGUMENTS]", "", "commands, in the order of the pipeline:"]
    width = max(map(len, available), default=0)
    lines += [f"  {name:<{width}}  {summary(point)}".rstrip() for name, point in available.items()]
    return "\n".join([*lines, "", "lidarloop COMMAND --help lists the arguments of each."])


if __name__ == "__main__":
    sys.exit(main())
