import pytest

from mcpctld.errors import UserError
from mcpctld.launch.regions import region


@pytest.mark.parametrize("code", ["iad", "IAD"])
def test_a_region_is_known_by_its_code(code):
    assert region(code) == ("iad", None)


def test_one_that_is_closed_is_another_one_and_that_is_said():
    assert region("atl") == ("dfw", "region atl is closed; dfw takes its place")


@pytest.mark.parametrize("code", ["", "frankfurt", "a1b", "iad\n"])
def test_what_is_no_code_is_refused(code):
    with pytest.raises(UserError, match="three letters"):
        region(code)
