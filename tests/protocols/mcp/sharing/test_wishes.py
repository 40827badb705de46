"""What several clients want of one session is asked for together, and told to each as it wanted."""

from mcpctld.protocols.mcp.sharing.wishes import LEVELS, Wishes


def test_the_most_verbose_level_is_wanted_of_the_server():
    wishes: Wishes[str] = Wishes()
    assert wishes.level is None
    wishes.want_level("a", "error")
    assert wishes.level == "error"
    wishes.want_level("b", "info")
    assert wishes.level == "info"
    wishes.want_level("b", "alert")
    assert wishes.level == "error"


def test_a_level_that_does_not_exist_changes_nothing():
    wishes: Wishes[str] = Wishes()
    wishes.want_level("a", "loud")
    wishes.want_level("a", None)
    assert wishes.level is None


def test_each_hears_from_its_own_level_on():
    wishes: Wishes[str] = Wishes()
    wishes.want_level("a", "error")
    wishes.want_level("b", "debug")
    heard = {who: [level for level in LEVELS if wishes.hears(who, level)] for who in "abc"}
    assert heard["a"] == ["error", "critical", "alert", "emergency"]
    assert heard["b"] == list(LEVELS)
    assert heard["c"] == list(LEVELS[1:])  # it named none, and is spared what another asked for


def test_while_nobody_named_a_level_all_hear_all():
    wishes: Wishes[str] = Wishes()
    assert wishes.hears("a", "debug")
    wishes.want_level("b", "error")
    assert wishes.hears("b", "no level at all")
    assert wishes.hears("b", None)


def test_a_resource_is_wanted_until_the_last_has_had_enough():
    wishes: Wishes[str] = Wishes()
    wishes.subscribe("a", "file:///x")
    wishes.subscribe("b", "file:///x")
    wishes.subscribe("b", "file:///y")
    assert wishes.uris == ["file:///x", "file:///y"]
    assert not wishes.unsubscribe("a", "file:///x")
    assert wishes.subscribers("file:///x") == {"b"}
    assert wishes.unsubscribe("b", "file:///x")
    assert wishes.uris == ["file:///y"]
    assert wishes.unsubscribe("a", "file:///never")
    assert wishes.uris == ["file:///y"]


def test_a_change_is_told_to_those_who_subscribed_to_it_or_to_what_holds_it():
    wishes: Wishes[str] = Wishes()
    wishes.subscribe("a", "file:///folder/")
    wishes.subscribe("b", "file:///folder/one")
    wishes.subscribe("c", "demo://other")
    assert wishes.subscribers("file:///folder/one") == {"a", "b"}
    assert wishes.subscribers("file:///folder/two") == {"a"}
    # Nothing says that a part has the name of the whole.
    assert wishes.subscribers("demo://part-of-something") == {"a", "b", "c"}


def test_who_goes_leaves_nothing_behind():
    wishes: Wishes[str] = Wishes()
    wishes.want_level("a", "debug")
    wishes.want_level("b", "error")
    wishes.subscribe("a", "x")
    wishes.subscribe("a", "y")
    wishes.subscribe("b", "y")
    assert wishes.drop("a") == ["x"]
    assert wishes.level == "error"
    assert wishes.subscribers("y") == {"b"}
    assert wishes.drop("b") == ["y"]
    assert wishes.level is None
    assert wishes.uris == []
    assert wishes.drop("nobody") == []
