from __future__ import annotations

from pathlib import Path

import pytest

from lidarloop_core.cli import main
from lidarloop_core.errors import ConfigError
from lidarloop_core.io.outputs import check_output, check_replaced


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"original")
    return path


def other_names(source: Path) -> list[Path]:
    """The same file by its name, by a detour, by a symbolic link and by a hard link."""
    symbolic, hard = source.with_name("symbolic"), source.with_name("hard")
    symbolic.symlink_to(source)
    hard.hardlink_to(source)
    return [source, source.parent / "." / "x" / ".." / source.name, symbolic, hard]


def test_an_input_is_refused_as_output_by_whatever_name(source: Path) -> None:
    (source.parent / "x").mkdir()
    for out in other_names(source):
        with pytest.raises(ConfigError, match="which is what is read; expected another place"):
            check_output(out, None, source)


def test_other_files_and_those_not_given_are_allowed(source: Path) -> None:
    check_output(source.with_name("other.onnx"), source, None)
    check_output(None, source)
    check_output(source.with_name("copy"), source.with_name("missing"))
    with pytest.raises(ConfigError, match="is what is read"):
        check_output(source.with_name("missing"), source.with_name("missing"))


def test_a_folder_that_is_replaced_may_not_hold_an_input(source: Path) -> None:
    with pytest.raises(ConfigError, match=r"which holds .*, which is read"):
        check_replaced(source.parent, source)
    check_replaced(source.parent / "sub", source)
    check_output(source.parent, source)


@pytest.mark.parametrize(
    "command",
    [
        "doctor {0} --json {0}",
        "bench model {0} --json {0}",
        "bench inference --model {0} --json {0}",
    ],
)
def test_commands_of_the_core_refuse_an_output_that_is_an_input(
    source: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.format(source).split()) == 1
    assert "is what is read" in capsys.readouterr().err
    assert source.read_bytes() == b"original"
