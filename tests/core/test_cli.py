from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from lidarloop_core import __version__, cli
from lidarloop_core.errors import BagError


def greet(name: str, *, loud: bool = False) -> int | None:
    """Says hello.

    Args:
        name: to whom.
        loud: in capitals.
    """
    if name == "nobody":
        raise BagError("received nobody; expected somebody: name one")
    if name == "two\nlines":
        raise BagError(f"received {name}; expected one: name one")
    if name == "interrupted":
        raise KeyboardInterrupt
    print(f"HELLO {name}" if loud else f"hello {name}")
    return 3 if name == "three" else None


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("greet", f"{__name__}:greet", "lidarloop.commands")
    monkeypatch.setattr(cli, "commands", lambda: {"greet": point})


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("args", "code", "out", "err"),
    [
        (["greet", "--name", "you"], 0, "hello you\n", ""),
        (["greet", "--name", "you", "--loud"], 0, "HELLO you\n", ""),
        (["greet", "--name", "three"], 3, "hello three\n", ""),
        (["greet", "--name", "nobody"], 1, "", "lidarloop greet: received nobody; expected somebody: name one\n"),
        (["greet", "--name", "two\nlines"], 1, "", "lidarloop greet: received two lines; expected one: name one\n"),
        (["greet", "--name", "interrupted"], 130, "", "lidarloop greet: interrupted\n"),
        (["--version"], 0, f"lidarloop {__version__}\n", ""),
    ],
)
def test_exit_codes_and_output(
    capsys: pytest.CaptureFixture[str], args: list[str], code: int, out: str, err: str
) -> None:
    assert cli.main(args) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (out, err)


@pytest.mark.usefixtures("commands")
def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    assert "\n  greet  Says hello.\n" in capsys.readouterr().out
    assert cli.main(["dance"]) == 2
    assert "received command 'dance'; expected one of: greet" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["greet"])
    assert exit_info.value.code == 2


def test_commands_come_in_pipeline_order(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint(name, "module:function", "lidarloop.commands")
        for name in ("zoo", "bench", "train", "ask", "convert")
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    assert list(cli.commands()) == ["convert", "train", "bench", "ask", "zoo"]


def test_help_gives_the_first_docstring_line_of_each_command() -> None:
    available = cli.commands()
    assert {"build-engine", "bench", "bench model", "doctor"} <= available.keys()
    for name, point in available.items():
        expected = (inspect.getdoc(point.load()) or "").splitlines()[0]
        assert cli.summary(point) == expected, name
        assert expected.endswith("."), f"{name}: its summary runs on into a second line"


@pytest.mark.parametrize(
    "value", ["no_such_package:run", "lidarloop_core.no_such_module:run", "lidarloop_core.cli:no_such_function"]
)
def test_a_command_without_source_has_an_empty_line(value: str) -> None:
    assert cli.summary(EntryPoint("x", value, "lidarloop.commands")) == ""


def test_help_imports_no_command() -> None:
    program = (
        "import sys; from lidarloop_core import cli; cli.main(['--help'])\n"
        "heavy = {'numpy', 'torch', 'numba', 'onnxruntime', 'rosbags', 'rclpy', 'tyro', 'rich'}\n"
        "modules = heavy | {point.module for point in cli.commands().values()}\n"
        "sys.exit(', '.join(sorted(modules & sys.modules.keys())) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, point in cli.commands().items():
        assert any(
            line.startswith(f"  {name} ") and line.endswith(f"  {cli.summary(point)}")
            for line in done.stdout.splitlines()
        ), name
