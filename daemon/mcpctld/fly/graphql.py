"""GraphQL, for the little that the Machines API lacks. Fly does not promise to keep it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mcpctld.fly.errors import FlyError, Reason
from mcpctld.fly.http import Ask, Wire
from mcpctld.fly.lenient import read_all

_CODES = {
    "NOT_FOUND": Reason.NOT_FOUND,
    "UNAUTHORIZED": Reason.DENIED,
    "UNPROCESSABLE": Reason.INVALID,
}
_ORGANIZATIONS = "query { organizations { nodes { id slug rawSlug name type } } }"


class Organization(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One organisation. `slug` is `personal` for its owner; `raw_slug` is the same for everybody."""

    id: str = ""
    slug: str = ""
    raw_slug: str = ""
    name: str = ""
    type: str = ""


class GraphQL:
    """`https://api.fly.io/graphql`"""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def query(
        self,
        doing: str,
        text: str,
        variables: Mapping[str, Any] | None = None,
        *,
        repeatable: bool = False,
    ) -> dict[str, Any]:
        """The `data` of the answer. Errors come with status 200, and raise `FlyError` all the same."""
        body = {"query": text, "variables": dict(variables or {})}
        url = self._wire.endpoints.graphql
        ask = Ask(
            "POST", url, doing, "graphql", doing, body=body, repeatable=repeatable, graphql=True
        )
        answer = await self._wire.send(ask)
        found = answer.mapping()
        if found.get("errors"):
            raise _explain(doing, found["errors"], answer.status)
        data = found.get("data")
        if not isinstance(data, dict):
            raise answer.broken("the answer has no data")
        return data

    async def organizations(self) -> list[Organization]:
        """Those of the token's user; tokens of an organisation may see none."""
        data = await self.query("list the organisations", _ORGANIZATIONS, repeatable=True)
        nodes = data.get("organizations")
        return read_all(Organization, nodes.get("nodes") if isinstance(nodes, dict) else None)


def _explain(doing: str, errors: object, status: int) -> FlyError:
    first = errors[0] if isinstance(errors, list) and errors else {}
    members = first if isinstance(first, dict) else {}
    extensions = members.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    reason = _CODES.get(code, Reason.INVALID) if isinstance(code, str) else Reason.INVALID
    text = members.get("message")
    return FlyError(doing, reason, text[:300] if isinstance(text, str) else "", status=status)
