"""The tables of methods fit together."""

from mcpctld.protocols.mcp import methods


def test_what_may_be_cached_or_lasts_may_be_repeated():
    assert methods.CACHEABLE <= methods.REPEATABLE
    assert methods.LASTING <= methods.REPEATABLE
    assert set(methods.LISTS) <= methods.CACHEABLE


def test_a_call_of_a_tool_may_not_be_repeated():
    assert "tools/call" not in methods.REPEATABLE


def test_revisions_are_in_the_order_of_time():
    assert [*methods.LEGACY, methods.MODERN] == sorted([*methods.LEGACY, methods.MODERN])
