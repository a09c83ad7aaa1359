"""Commands as text that a shell reads back."""

from __future__ import annotations

import shlex


def command_line(*words: object) -> str:
    """A command to print or to record, each word quoted where a POSIX shell would take it apart.

    Args:
        words: the command and its arguments; paths and numbers are written as ``str`` writes them.
    """
    return shlex.join(map(str, words))
