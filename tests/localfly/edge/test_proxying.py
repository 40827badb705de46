"""`mcpctld.localfly.edge`: requests and answers through the edge, over real sockets."""

import trio

from localfly.edge.town import Visit, ask, calling, echo, open_town, request


async def test_a_request_reaches_the_machine_as_it_was_meant(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        answer = await ask(fleet, "POST", "/mcp?x=1", b"{}", X_Own="kept", Authorization="Bearer t")
        assert answer.status == 200
        assert answer.told["line"] == "POST /mcp?x=1 HTTP/1.1"
        assert answer.told["body"] == "{}"
        assert answer.seen("x-own") == ["kept"]
        assert answer.seen("authorization") == ["Bearer t"]
        assert answer.seen("host") == ["time.localhost"]
        assert answer.seen("x-forwarded-proto") == ["https"]
        assert answer.get("server") == "Fly/localfly"
        assert answer.seen("fly-request-id") == [answer.get("fly-request-id")]
