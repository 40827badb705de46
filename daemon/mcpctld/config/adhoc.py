"""A server made from the greeting of `mcpctl attach --url`: never a program, never our secrets."""

from collections.abc import Iterable
from typing import Any, get_args

from mcpctld.config import references
from mcpctld.config.check import server_problems, split_url
from mcpctld.errors import UserError
from mcpctld.model import DEFAULT_CALL_TIMEOUT_S, EraChoice, Server, ServerSpec, Transport


def adhoc_server(fields: Iterable[tuple[str, str]]) -> Server:
    """The server of a greeting (`wire.encode_hello` lists its keys), named after its URL.

    Raises `UserError`. Keys that do not describe a server are passed over.
    """
    single: dict[str, str] = {}
    headers: dict[str, str] = {}
    for key, value in fields:
        if key == "header":
            _add_header(headers, value)
        else:
            single[key] = value
    spec = _spec(single, headers)
    if problems := server_problems(spec):
        raise UserError(f"cannot attach to this URL: {'; '.join(problems)}")
    return Server(name=_name(spec), spec=spec)


def _spec(single: dict[str, str], headers: dict[str, str]) -> ServerSpec:
    if "url" not in single:
        raise UserError("cannot attach: the greeting names neither a server nor a URL")
    return ServerSpec(
        url=single["url"],
        headers=headers,
        instance=single.get("instance") or None,
        transport=_choice("transport", single.get("transport") or "auto", Transport),
        era=_choice("era", single.get("era") or "auto", EraChoice),
        call_timeout_s=_seconds(single["timeout"])
        if single.get("timeout")
        else DEFAULT_CALL_TIMEOUT_S,
    )


def _add_header(headers: dict[str, str], line: str) -> None:
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip()
    if not colon:
        raise UserError(f"cannot use the header {name!r}: write 'Name: value'")
    if name.lower() in (other.lower() for other in headers):
        raise UserError(f"cannot use the header {name!r}: it is given twice")
    if references.keys_in([value]):
        # Whoever reaches the socket could otherwise send our secrets to a host of their choice.
        raise UserError(
            f"cannot use the header {name!r}: a secret is available to configured servers only; "
            "add one with: mcpctl add --server NAME --url URL"
        )
    headers[name] = references.escape(value)


def _choice(what: str, text: str, choices: Any) -> Any:
    """`text`, which must be one of a `Literal`'s values."""
    known = get_args(choices)
    if text not in known:
        raise UserError(f"cannot use the {what} {text!r}: write one of {', '.join(known)}")
    return text


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise UserError(f"cannot use the timeout {text!r}: write a number of seconds") from exc


def _name(spec: ServerSpec) -> str:
    parts = split_url(spec.url or "")
    assert parts is not None
    return parts.netloc.lower()
