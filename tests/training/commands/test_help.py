"""What a command offers for a kind of drive is what that kind has."""

from __future__ import annotations

import pytest

from lidarloop_core.cli import main


@pytest.mark.parametrize("command", ["convert", "pseudolabel", "paint", "view"])
def test_the_help_of_a_bag_names_no_toy_town_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    def options(kind: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([command, kind, "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    of_a_bag, of_the_town = options("bag"), options("toytown")
    assert "--points-topics" in of_a_bag
    assert "--points-topics" not in of_the_town
    for word in ("toytown", "toy town", "toy-town", "--duration-s", "--seed"):
        assert word not in of_a_bag.lower()
    assert "--duration-s" in of_the_town
