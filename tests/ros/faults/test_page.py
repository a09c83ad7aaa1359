"""docs/faults.md says what the tests say: the same faults, the same tests, all passed."""

from __future__ import annotations

from pathlib import Path

from tests.ros.faults.fault_table import FAULTS
from tests.ros.faults.faults_page import marked_tests, render


def test_every_fault_has_a_test_and_every_mark_a_fault() -> None:
    keys = [fault.key for fault in FAULTS]
    assert len(set(keys)) == len(keys)
    assert {test.fault for test in marked_tests()} == set(keys)


def test_the_page_is_of_these_tests_and_all_have_passed(repository: Path) -> None:
    tests = marked_tests()
    expected = render(FAULTS, tests, {(test.path, test.name): {"passed"} for test in tests})
    assert (repository / "docs" / "faults.md").read_text() == expected, (
        "run: python -m pytest tests/ros -m fault --faults-page docs/faults.md"
    )


def test_a_failed_or_forgotten_test_shows() -> None:
    tests = [test for test in marked_tests() if test.fault == FAULTS[0].key]
    assert render(FAULTS[:1], tests, {}).rstrip().endswith("| not run |")
    outcomes = {(test.path, test.name): {"passed", "failed"} for test in tests}
    assert render(FAULTS[:1], tests, outcomes).rstrip().endswith("| failed, passed |")
