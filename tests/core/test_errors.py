from __future__ import annotations

import pickle

import pytest

from lidarloop_core.errors import CloudFormatError, LidarloopError, one_line, shortened


def test_a_message_that_quotes_much_is_shortened_in_its_middle() -> None:
    error = CloudFormatError("cloud received " + "x" * 10_000_000 + ": check the driver")
    assert len(str(error)) == 2000
    assert str(error).startswith("cloud received xxx")
    assert str(error).endswith("xxx: check the driver")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (CloudFormatError, str(error))


@pytest.mark.parametrize("length", [0, 1, 1999, 2000])
def test_other_messages_stay_as_they_are(length: int) -> None:
    assert str(LidarloopError("a" * length)) == "a" * length
    assert len(shortened("a" * 5000, 100 + length)) == 100 + length


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no file a\nb; check it", "no file a b; check it"),
        ("[1 0\n 0 1] is no rotation\n", "[1 0 0 1] is no rotation"),
        ("\n", ""),
        ("a\r\n\n  b\u2028c", "a b c"),
        ("a  b", "a  b"),
    ],
)
def test_a_message_is_one_line(text: str, line: str) -> None:
    assert one_line(text) == str(LidarloopError(text)) == line
    assert len(line.splitlines()) <= 1


def test_what_is_quoted_with_control_characters_is_one_line() -> None:
    error = CloudFormatError("received a\nb\x1b[31m\u2028c\udcff, é; expected … 5 m²")
    assert str(error) == r"received a b\x1b[31m c\udcff, é; expected … 5 m²"
    assert len(str(LidarloopError("\0" * 5000))) == 2000
