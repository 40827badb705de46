"""The logs API, which is not part of the Machines API (`/api/v1/apps/{app}/logs`)."""

import trio

from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.logs import as_json


async def show(call: Call) -> Result:
    """GET: a page, and the token of the next. An app that is not there gives 401, as on Fly."""
    await trio.lowlevel.checkpoint()
    app = call.params["app"]
    if app not in call.world.apps:
        raise ApiError(401, "unauthorized")
    try:
        token = int(call.first("next_token") or 0)
    except ValueError:
        raise ApiError(400, "invalid next_token") from None
    lines, next_token = call.supervisor.book(app).page(
        token, call.first("region"), call.first("instance")
    )
    return 200, {
        "data": [as_json(line) for line in lines],
        "meta": {"next_token": str(next_token) if next_token else ""},
    }
