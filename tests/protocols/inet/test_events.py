"""`mcpctld.protocols.inet.events`: each names what it happened to."""

from typing import get_args

import pytest

from mcpctld.protocols.inet.events import Connected, Event


@pytest.mark.parametrize("kind", get_args(Event))
def test_an_event_holds_one_thing_and_does_not_change(kind):
    thing = object()
    event = kind(thing)
    [name] = kind.__struct_fields__
    assert getattr(event, name) is thing
    with pytest.raises(AttributeError):
        setattr(event, name, None)


def test_events_of_different_kinds_are_different():
    assert len({kind(1) for kind in get_args(Event)}) == len(get_args(Event))
    assert Connected(1) == Connected(1)
