from pathlib import Path

from jackfield.testing import JackfieldServer


async def test_old_lines_and_new_ones(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_text("zero\none\ntwo\n", encoding="utf-8")
    section = {"use": "tail:Tail", "path": "/tail", "lines": 2, "every": "10ms"}
    service = await jackfield_server({"tail": section})
    async with service.ws_connect("/tail") as first:
        assert [await first.receive_str(timeout=10) for _ in range(2)] == ["one", "two"]
        with log.open("a", encoding="utf-8") as file:
            file.write("three\nfour\nhal")
        async with service.ws_connect("/tail") as second:
            assert [await first.receive_str(timeout=10) for _ in range(2)] == ["three", "four"]
            while await second.receive_str(timeout=10) != "four":
                pass
        log.write_text("anew\n", encoding="utf-8")
        assert await first.receive_str(timeout=10) == "anew"
    await service.ended()
