import gc

from chat import Chat

from jackfield.testing import JackfieldServer

SECTION = {"use": "chat:Chat", "path": "/chat", "longest": 10}


async def test_a_room_hears_what_is_said_in_it(jackfield_server: JackfieldServer) -> None:
    service = await jackfield_server({"chat": SECTION})
    async with (
        service.ws_connect("/chat/lobby") as one,
        service.ws_connect("/chat/kitchen") as elsewhere,
    ):
        assert (await one.receive_str(timeout=10)).endswith("has come")
        assert (await elsewhere.receive_str(timeout=10)).endswith("has come")
        async with service.ws_connect("/chat/lobby") as other:
            assert (await one.receive_str(timeout=10)).endswith("has come")
            await other.send_str("is anybody there?")
            assert (await one.receive_str(timeout=10)).endswith(": is anybody")
        assert (await one.receive_str(timeout=10)).endswith("has gone")
        await elsewhere.send_str("quiet")
        assert (await elsewhere.receive_str(timeout=10)).endswith(": quiet")
    await service.ended()
    gc.collect()
    assert len(service.handler("chat", Chat).rooms) == 0


async def test_whoever_does_not_listen_is_shown_out(jackfield_server: JackfieldServer) -> None:
    service = await jackfield_server({"chat": {**SECTION, "longest": 1_000_000}}, max_connections=2)
    async with service.raw("/chat/lobby") as deaf, service.ws_connect("/chat/lobby", max_msg_size=0) as speaker:
        lobby = service.handler("chat", Chat).rooms["lobby"]
        while len(lobby) == 2:
            await speaker.send_str("x" * 50_000)
            await speaker.receive_str(timeout=10)
        assert (await deaf.closed()).code == 1013
