from __future__ import annotations

import shlex
from pathlib import Path

from lidarloop_core.shell import command_line


def test_words_come_back_from_a_shell_as_they_were() -> None:
    words = ["lidarloop", "train", Path("my drives/it's"), "--n", 3, "$HOME", "a;b", ""]
    assert shlex.split(command_line(*words)) == [str(word) for word in words]


def test_plain_words_stay_plain() -> None:
    assert command_line("lidarloop", "replay", "BAG", "--model", Path("out/model.onnx")) == (
        "lidarloop replay BAG --model out/model.onnx"
    )
