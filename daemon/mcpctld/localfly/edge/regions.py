"""The regions that `fly-replay` may name together (Fly.io, "Dynamic Request Routing")."""

_NORTH_AMERICA = "atl bos den dfw ewr gdl iad lax mia ord phx qro sea sjc yul yyz"
_USA = "atl bos den dfw ewr iad lax mia ord phx sea sjc"
_EUROPE = "ams arn cdg fra lhr mad otp waw"
_ASIA_PACIFIC = "bom hkg nrt sin syd"
_SOUTH_AMERICA = "bog eze gig gru scl"

_ALIASES = {
    "apac": _ASIA_PACIFIC,
    "eu": _EUROPE,
    "na": _NORTH_AMERICA,
    "sa": _SOUTH_AMERICA,
    "us": _USA,
    "usa": _USA,
}
ANY = "any"


def read_regions(text: str) -> frozenset[str]:
    """The codes in a comma list of codes and aliases; empty where any region will do."""
    words = [word.strip().lower() for word in text.strip('"').split(",")]
    if ANY in words:
        return frozenset()
    return frozenset(code for word in words if word for code in _ALIASES.get(word, word).split())
