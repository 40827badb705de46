"""The little of Fly's GraphQL that has no REST: organizations, an app's releases, addresses the old way.

No schema is interpreted. A document is read as far as needed to find its operation's fields and their arguments; each
is answered with everything known of it. What was selected does not matter: more members than wanted do no harm.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.machines import rfc3339
from mcpctld.localfly.routes.addresses import allocate, take_away
from mcpctld.localfly.routes.apps import as_json
from mcpctld.localfly.state import ORG, Address, App

_TOKEN = re.compile(
    r'\s+|,|#[^\n]*|("(?:[^"\\]|\\.)*")|(\$?[A-Za-z_]\w*)|(-?\d+(?:\.\d+)?)|([{}():!\[\]=@|]|\.\.\.)'
)
MOST_DEPTH = 32


class Document(msgspec.Struct, kw_only=True):
    """What is posted."""

    query: str
    variables: dict[str, Any] | None = None


class Problem(Exception):
    """Answered in `errors`, with HTTP 200."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


async def post(call: Call) -> Result:
    """POST."""
    await trio.lowlevel.checkpoint()
    document = call.read(Document, keep_null=True)
    data: dict[str, Any] = {}
    path = ""
    try:
        for path, name, arguments in read_fields(document.query, document.variables or {}):
            if name not in FIELDS:
                raise Problem(f"Field '{name}' doesn't exist", "undefinedField")
            data[path] = FIELDS[name](call, arguments)
    except ApiError as exc:
        return 200, _error(path, exc.text, "NOT_FOUND" if exc.status == 404 else "UNPROCESSABLE")
    except Problem as exc:
        return 200, _error(path, str(exc), exc.code)
    return 200, {"data": data}


def _error(path: str, text: str, code: str) -> dict[str, Any]:
    error = {"message": text, "path": [path] if path else [], "extensions": {"code": code}}
    return {"data": None, "errors": [error]}


# ---------------------------------------------------------------- the document

Field = tuple[str, str, dict[str, Any]]
"""By what it is called in the answer, its name, its arguments."""


def read_fields(text: str, variables: dict[str, Any]) -> list[Field]:
    """The fields of the first operation. Raises `Problem`."""
    return _Reader(text, variables).operation()


class _Reader:
    def __init__(self, text: str, variables: dict[str, Any]) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._variables = variables

    def operation(self) -> list[Field]:
        while self._peek() not in ("{", ""):
            if self._next() == "(":  # the types of the variables
                self._skip("(", ")")
        self._want("{")
        fields = []
        while self._peek() != "}":
            fields.append(self._field())
        return fields

    def _field(self) -> Field:
        alias = name = self._name()
        if self._peek() == ":":
            self._next()
            name = self._name()
        arguments: dict[str, Any] = {}
        if self._peek() == "(":
            self._next()
            arguments = self._members(")")
        if self._peek() == "{":
            self._next()
            self._skip("{", "}")
        return alias, name, arguments

    def _members(self, end: str, depth: int = 0) -> dict[str, Any]:
        found = {}
        while self._peek() != end:
            name = self._name()
            self._want(":")
            found[name] = self._value(depth)
        self._next()
        return found

    def _value(self, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise _malformed("it is nested too deeply")
        word = self._next()
        if word == "{":
            return self._members("}", depth + 1)
        if word == "[":
            items = []
            while self._peek() != "]":
                items.append(self._value(depth + 1))
            self._next()
            return items
        if word.startswith("$"):
            return self._variables.get(word[1:])
        if word in _WORDS:
            return _WORDS[word]
        if word[:1] in _LITERAL:
            try:
                return msgspec.json.decode(word)
            except msgspec.DecodeError:
                raise _malformed(f"{word} is no value") from None
        if not word.isidentifier():
            raise _malformed(f"unexpected {word!r}")
        return word  # of an enumeration

    def _skip(self, opening: str, closing: str) -> None:
        depth = 1
        while depth:
            token = self._next()
            depth += (token == opening) - (token == closing)

    def _name(self) -> str:
        token = self._next()
        if not token.isidentifier():
            raise _malformed(f"unexpected {token!r}")
        return token

    def _want(self, token: str) -> None:
        if (found := self._next()) != token:
            raise _malformed(f"expected {token!r}, found {found!r}")

    def _peek(self) -> str:
        if self._at < len(self._tokens):
            return self._tokens[self._at]
        raise _malformed("it is cut short")

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token


_LITERAL = frozenset('"-0123456789')
_WORDS = {"true": True, "false": False, "null": None}


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _malformed(f"unexpected {text[at]!r}")
        if match.lastindex:
            found.append(match[match.lastindex])
        at = match.end()
    return found


def _malformed(text: str) -> Problem:
    return Problem(f"Parse error: {text}", "parseError")


# ---------------------------------------------------------------- what is asked

_ORGANIZATION = {
    "id": "localfly-org",
    "internalNumericId": "1",
    "slug": ORG,
    "rawSlug": ORG,
    "name": "Personal",
    "type": "PERSONAL",
    "viewerRole": "admin",
    "paidPlan": True,
    "members": {"edges": []},
}


def _organizations(_: Call, __: dict[str, Any]) -> Any:
    return {"nodes": [_ORGANIZATION]}


def _organization(_: Call, arguments: dict[str, Any]) -> Any:
    slug = arguments.get("slug") or arguments.get("id") or arguments.get("name")
    if slug not in (ORG, _ORGANIZATION["id"]):
        raise Problem("Could not find Organization", "NOT_FOUND")
    return _ORGANIZATION


def _viewer(_: Call, __: dict[str, Any]) -> Any:
    return {"__typename": "User", "email": "local@localhost", "personalOrganization": _ORGANIZATION}


def _app(call: Call, arguments: dict[str, Any]) -> Any:
    return _view(_find(call, arguments.get("name") or arguments.get("id")))


def _find(call: Call, name: Any) -> App:
    found = call.world.apps.get(str(name))
    if found is None:
        raise Problem("Could not find App", "NOT_FOUND")
    return found


def _view(app: App) -> dict[str, Any]:
    shared = [each.ip for each in app.addresses if each.kind == "shared_v4"]
    own = [_address(each) for each in app.addresses if each.kind != "shared_v4"]
    return as_json(app) | {
        "id": app.name,
        "hostname": f"{app.name}.localhost",
        "deployed": bool(app.machines),
        "organization": _ORGANIZATION,
        "sharedIpAddress": shared[0] if shared else None,
        "ipAddresses": {"nodes": own},
        "releases": {"nodes": []},
        "releasesUnprocessed": {"nodes": []},
    }


def _address(address: Address) -> dict[str, Any]:
    return {
        "id": address.ip,
        "address": address.ip,
        "type": address.kind,
        "region": address.region,
        "createdAt": rfc3339(address.created_at),
    }


def _allocate(call: Call, arguments: dict[str, Any]) -> Any:
    given = arguments.get("input") or {}
    app = _find(call, given.get("appId"))
    kind = str(given.get("type") or "").lower()
    address = allocate(call, app, kind, given.get("region") or "", given.get("network") or "")
    shared = address.kind == "shared_v4"
    return {"ipAddress": None if shared else _address(address), "app": _view(app)}


def _release(call: Call, arguments: dict[str, Any]) -> Any:
    given = arguments.get("input") or {}
    app = _find(call, given.get("appId"))
    take_away(call, app, str(given.get("ip") or given.get("ipAddressId") or ""))
    return {"app": _view(app), "clientMutationId": None}


FIELDS: dict[str, Callable[[Call, dict[str, Any]], Any]] = {
    "organizations": _organizations,
    "organization": _organization,
    "viewer": _viewer,
    "app": _app,
    "allocateIpAddress": _allocate,
    "releaseIpAddress": _release,
    "__typename": lambda _, __: "Queries",
}
