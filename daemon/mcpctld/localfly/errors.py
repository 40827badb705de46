"""What the Machines API answers when it does not do what was asked: a status, a text, sometimes a code."""

from typing import Any, Literal

Code = Literal["", "unknown", "insufficient_capacity", "volume_placement_capacity", "name_taken"]
Style = Literal["error", "message"]
"""Machines, volumes and secrets say `{"error": ...}`, apps and addresses `{"message": ...}` when refusing a token."""

NOT_FOUND_TEXT = b"404 page not found\n"
"""An unknown path or method, answered before the token is looked at."""


class ApiError(Exception):
    """Answered as it stands. `code` is the `status` of the body, for programs."""

    def __init__(self, status: int, text: str, code: Code = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code: Code = code

    def body(self) -> dict[str, Any]:
        """`ErrorResponse` of the OpenAPI document."""
        return {"error": self.text} | ({"status": self.code} if self.code else {})


def precondition(text: str) -> ApiError:
    """412, with the prefix by which clients know it."""
    return ApiError(412, f"failed_precondition: {text}")


def not_found(what: str, name: str) -> ApiError:
    """404 for a thing that is not there."""
    return ApiError(404, f"{what} {name!r} not found")


def unauthorized(style: Style) -> dict[str, str]:
    """The body of a 401."""
    if style == "message":
        return {"message": "Unauthorized"}
    return {"error": "Authenticate: token validation error"}
