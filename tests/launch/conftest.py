"""A local Fly for the tests of the program."""

from collections.abc import Iterator

import pytest

from launch.stage import LocalFly


@pytest.fixture(scope="module")
def fly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFly]:
    """One for all tests of a module; each leaves it empty."""
    running = LocalFly(tmp_path_factory.mktemp("localfly") / "fly")
    yield running
    running.end()
