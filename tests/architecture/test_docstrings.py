"""Docstrings give what they owe: the rules on small sources, then on the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.docstrings import bare_genitives, num_incomplete, public_functions, shortfalls

SHARE_COMPLETE = 0.95


def missing(source: str) -> dict[str, tuple[str, ...]]:
    """Function → what it owes, of those to which a rule applies."""
    return {function.name: function.missing for function in public_functions(source)}


def of_arrays(doc: str) -> str:
    return f'def shift(points: npt.NDArray[np.float32]) -> None:\n    """{doc}"""\n'


@pytest.mark.parametrize(
    "line", ["lanes: of the map.", "stamps, poses: of each sweep.", "count: in all drives.", "seed: for the noise."]
)
def test_an_owner_alone_is_a_bare_genitive(line: str) -> None:
    source = f'class A:\n    """A thing.\n\n    Attributes:\n        {line}\n    """\n'
    assert list(bare_genitives(source)) == [(5, line)]


@pytest.mark.parametrize("line", ["lanes: centre lines of the map.", "stamp: in nanoseconds."])
def test_a_noun_with_its_owner_is_none(line: str) -> None:
    assert list(bare_genitives(f'"""A thing.\n\n    {line}\n"""\n')) == []


@pytest.mark.parametrize(
    "shape",
    ["(N, 3)", "(N,)", "(K)", "(B, C, H, W)", "(P·20, 5)", "(N, 3 or 4)", "(…, 3)", "(num_points, C)", "(N, C ≥ 3)",
     "(N, ``num_columns``)",
     "(H/4, W/4)", "a scalar", "the same shape"],
)  # fmt: skip
def test_shapes_are_recognised(shape: str) -> None:
    assert missing(of_arrays(f"Shifts points, {shape} float32."))["shift"] == ()


@pytest.mark.parametrize("words", ["Shifts points (metres).", "Shifts points (see above, please).", "By NMS (IoU)."])
def test_words_in_brackets_are_no_shape(words: str) -> None:
    assert missing(of_arrays(words))["shift"] == ("shapes",)


@pytest.mark.parametrize("annotation", ["torch.Tensor", "FloatArray", "dict[str, npt.NDArray[np.int64]]"])
def test_arrays_of_every_kind_owe_shapes(annotation: str) -> None:
    assert missing(f'def f() -> {annotation}:\n    """Some."""\n') == {"f": ("shapes",)}


def test_messages_and_plain_functions_owe_nothing() -> None:
    assert missing("def f(markers: MarkerArray, name: str) -> Detection3DArray: ...\n") == {}


@pytest.mark.parametrize("argument", ["radius: float", "max_distance: float = 2.0", "heights: tuple[float, float]"])
def test_a_float_that_measures_owes_its_unit(argument: str) -> None:
    assert missing(f'def f({argument}) -> None:\n    """Near the drive\'s end."""\n') == {"f": ("units",)}
    assert missing(f'def f({argument}) -> None:\n    """Within, metres."""\n') == {"f": ()}


@pytest.mark.parametrize("argument", ["radius_m: float", "yaw_rad: float", "learning_rate: float", "num_times: int"])
def test_a_unit_in_the_name_is_enough(argument: str) -> None:
    assert missing(f"def f({argument}) -> None: ...\n") == {}


def test_a_result_owes_the_unit_that_its_name_lacks() -> None:
    assert missing("def ground_height() -> float: ...\ndef ground_height_m() -> float: ...\n") == {
        "ground_height": ("units",)
    }


RAISING = 'raise DatasetError("received")'


@pytest.mark.parametrize(
    "source",
    [
        f"def f():\n    {RAISING}",
        f"def f():\n    _check()\ndef _check():\n    {RAISING}",
        f"def f():\n    _outer()\ndef _outer():\n    _inner()\ndef _inner():\n    {RAISING}",
        f"class A:\n    def f(self):\n        self._check()\n    def _check(self):\n        {RAISING}",
    ],
)
def test_errors_are_owed_also_through_private_functions(source: str) -> None:
    assert set(missing(source).values()) == {("errors",)}


@pytest.mark.parametrize(
    "source",
    [
        f"def f():\n    try:\n        _check()\n    except DatasetError:\n        pass\ndef _check():\n    {RAISING}",
        "def f():\n    raise IndexError(3)",
        f"def _f():\n    {RAISING}",
        f"@override\ndef f():\n    {RAISING}",
    ],
)
def test_errors_that_are_handled_or_not_the_users_are_not_owed(source: str) -> None:
    assert missing(source) == {}


@pytest.mark.parametrize(
    "doc", ["Raises:\n        DatasetError: if so.", "Refuses a folder.", "It raises DatasetError."]
)
def test_errors_are_given_in_a_section_or_a_sentence(doc: str) -> None:
    assert missing(f'def f():\n    """Reads.\n\n    {doc}\n    """\n    {RAISING}\n') == {"f": ()}


def test_a_class_may_give_what_all_its_methods_share() -> None:
    source = 'class A:\n    """Points are (N, 3)."""\n    def f(self, points: FloatArray) -> None: ...\n'
    assert missing(source) == {"A.f": ()}


def test_attributes_of_the_project_are_nouns(repository: Path) -> None:
    found, _ = shortfalls(repository)
    bare = [f"{row.path}:{row.line}: {row.name}" for row in found if row.missing == "what it is"]
    assert not bare, "attributes of which only the owner is given:\n" + "\n".join(bare)


def test_public_functions_of_the_project_give_shapes_units_and_errors(repository: Path) -> None:
    found, num_functions = shortfalls(repository)
    lines = [f"{row.path}:{row.line}: {row.name}: no {row.missing}" for row in found if row.missing != "what it is"]
    share = 1 - num_incomplete(found) / num_functions
    assert share >= SHARE_COMPLETE, f"{share:.1%} of {num_functions} functions are complete:\n" + "\n".join(lines)
