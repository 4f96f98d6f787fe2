"""The kinds of tests: what runs of unit tests leave out is what has none."""

import pytest

from tests.support.plugin import files_without_unit_tests


def test_a_file_without_a_unit_test_says_so(request: pytest.FixtureRequest) -> None:
    """Each of them has `pytestmark = pytest.mark.live` or `slow`, and `make check` does not import it."""
    assert request.config.stash[files_without_unit_tests] == []
