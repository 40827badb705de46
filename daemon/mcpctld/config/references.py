"""References to secrets in text: `${secret:KEY}` is replaced, `$${` stands for a literal `${`.

Any other `${` is refused when a server is checked, so that a slip of the pen never travels as text.
"""

import re
from collections.abc import Iterable, Mapping

from mcpctld.config.places import NAME

_TOKEN = re.compile(r"\$\$\{|\$\{secret:(" + NAME.pattern + r")\}")
_STRAY = re.compile(r"\$\$\{|\$\{(?!secret:" + NAME.pattern + r"\})")


def keys_in(values: Iterable[str]) -> list[str]:
    """The keys that `values` refer to, each once, in order of appearance."""
    found: dict[str, None] = {}
    for value in values:
        if "${" in value:
            found.update((key, None) for key in _TOKEN.findall(value) if key)
    return list(found)


def substitute(value: str, secrets: Mapping[str, str]) -> str:
    """`value` with references replaced and escapes undone. `KeyError` when a secret is missing."""
    if "${" not in value:
        return value
    return _TOKEN.sub(lambda match: secrets[match[1]] if match[1] else "${", value)


def is_stray(value: str) -> bool:
    """Whether `value` holds a `${` that is neither a reference nor escaped."""
    return any(match == "${" for match in _STRAY.findall(value)) if "${" in value else False


def escape(value: str) -> str:
    """Text that `substitute` turns into `value`."""
    return value.replace("${", "$${")
