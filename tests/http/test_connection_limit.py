"""The limit on connections: how many may be open, and which one is closed for a new one."""

import asyncio
import resource
import socket

import pytest
from starlette.types import Receive, Scope, Send

from tests.http.test_protocol import (
    NEXT,
    POST,
    TALK_BYTES,
    answer,
    connected,
    echo,
    exchange,
    read_answer,
    read_body,
    reading_little,
    send,
    serving,
    talkative,
)
from vyrox import log
from vyrox.http.connection_limit import (
    ENOUGH_FILES,
    MAX_CONNECTIONS,
    MAX_PRIVATE_CONNECTIONS,
    SEND_BUFFER_BYTES,
    backlog,
    console_backlog,
    limited_protocol,
    max_connections,
    max_console_connections,
    max_private_connections,
    raise_file_limit,
)

GET = b"GET /first HTTP/1.1\r\nHost: vyrox\r\n\r\n"


@pytest.mark.parametrize(
    ("files", "connections", "private", "waiting"),
    [
        (128, 64, 16, 16),
        (256, 128, 32, 32),
        (1024, 512, 128, 128),
        (4096, 3584, 128, 128),
        (20_000, MAX_CONNECTIONS, MAX_PRIVATE_CONNECTIONS, 2048),
        (1_000_000, MAX_CONNECTIONS, MAX_PRIVATE_CONNECTIONS, 2048),
    ],
)
def test_the_listeners_leave_files_for_everything_else(
    files: int, connections: int, private: int, waiting: int
) -> None:
    found = (max_connections(files), max_private_connections(files), backlog(files))
    assert found == (connections, private, waiting)
    console = max_console_connections(files) + console_backlog(files)
    assert connections + private + 2 * waiting + console < files


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        pytest.param(256, 4096, 4096, id="to_the_hard_one"),
        pytest.param(256, 1_000_000, ENOUGH_FILES, id="no_further_than_needed"),
        pytest.param(256, resource.RLIM_INFINITY, ENOUGH_FILES, id="hard_one_is_none"),
        pytest.param(128, 128, None, id="keep_at_the_hard_one"),
        pytest.param(50_000, 50_000, None, id="keep_a_larger_one"),
        pytest.param(resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, id="keep_none"),
    ],
)
def test_raise_file_limit_goes_as_far_as_it_may(
    soft: int, hard: int, raised: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    found = raise_file_limit()
    assert limits[1:] == ([] if raised is None else [(raised, hard)])
    assert found == (ENOUGH_FILES if limits[-1][0] == resource.RLIM_INFINITY else limits[-1][0])


async def test_connection_silent_longest_goes_for_a_new_one() -> None:
    """The second has just had an answer, so that it is the first and not the second that goes."""
    evicted = log.counts["http.evicted"]
    async with (
        serving(echo, limited_protocol(2)) as port,
        connected(port) as (first, first_writer),
        connected(port) as (second, second_writer),
    ):
        await send(first_writer, GET)
        assert (await read_answer(first)).status == 200
        await send(second_writer, GET)
        assert (await read_answer(second)).status == 200
        assert [found.status for found in await exchange(port, NEXT)] == [200]
        assert await first.read() == b""
        await send(second_writer, GET)
        assert (await read_answer(second)).status == 200
    assert log.counts["http.evicted"] == evicted + 1


async def test_connection_whose_request_is_at_work_stays() -> None:
    """If all have a request in progress, the new connection is closed."""
    gate, began = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        began.set()
        await gate.wait()
        await answer(send, b"late")

    async with serving(app, limited_protocol(1)) as port, connected(port) as (reader, writer):
        await send(writer, GET)
        await began.wait()
        async with connected(port) as (refused, _):
            assert await refused.read() == b""
        gate.set()
        assert (await read_answer(reader)).body == b"late"


async def test_connection_with_half_a_request_may_go() -> None:
    async with serving(echo, limited_protocol(1)) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"Content-Length: 4\r\n\r\nbo")
        assert [found.status for found in await exchange(port, NEXT)] == [200]
        assert await reader.read() == b""


async def test_connection_that_ends_makes_room() -> None:
    evicted = log.counts["http.evicted"]
    async with serving(echo, limited_protocol(1)) as port:
        for _ in range(3):
            assert [found.status for found in await exchange(port, NEXT)] == [200]
    assert log.counts["http.evicted"] == evicted


async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without waiting for the body."""
    if scope["path"] == "/next":
        await echo(scope, receive, send)
    else:
        await answer(send, b"no")


async def test_connection_that_was_answered_before_its_body_came_may_go() -> None:
    complete = asyncio.Event()

    class Watched(limited_protocol(1)):  # type: ignore[misc]
        def on_message_complete(self) -> None:
            super().on_message_complete()
            complete.set()

    async with serving(hasty, Watched) as port, connected(port) as (reader, writer):
        await send(writer, b"POST /early HTTP/1.1\r\nHost: vyrox\r\nContent-Length: 4\r\n\r\n")
        assert (await read_answer(reader)).body == b"no"
        await send(writer, b"late")
        await complete.wait()
        assert [found.status for found in await exchange(port, NEXT)] == [200]
        assert await reader.read() == b""


async def test_connection_with_half_a_request_behind_an_answer_may_go() -> None:
    gate, began = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        began.set()
        await gate.wait()
        await read_body(receive)
        await answer(send, b"done")

    async with serving(app, limited_protocol(1)) as port, connected(port) as (reader, writer):
        await send(writer, GET + POST + b"Content-Length: 4\r\n\r\nbo")
        await began.wait()
        gate.set()
        assert (await read_answer(reader)).body == b"done"
        assert [found.status for found in await exchange(port, NEXT)] == [200]
        assert await reader.read() == b""


async def test_connection_that_takes_its_answer_again_stays() -> None:
    paused, resumed, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Watched(limited_protocol(1)):  # type: ignore[misc]
        def pause_writing(self) -> None:
            super().pause_writing()
            paused.set()

        def resume_writing(self) -> None:
            super().resume_writing()
            resumed.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = [(b"content-length", b"%d" % (TALK_BYTES + 4))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        whole = b"x" * TALK_BYTES
        await send({"type": "http.response.body", "body": whole, "more_body": True})
        await gate.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async with serving(app, Watched) as port, connected(port) as (reader, writer):
        await send(writer, GET)
        await paused.wait()
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(TALK_BYTES)
        await resumed.wait()
        async with connected(port) as (refused, _):
            assert await refused.read() == b""
        gate.set()
        assert await reader.readexactly(4) == b"last"


async def test_answers_that_are_not_taken_do_not_pile_up_in_the_system_either() -> None:
    """Left alone, it keeps megabytes of small answers for each connection."""
    answered = asyncio.Event()
    unsent: list[int] = []

    class Watched(limited_protocol(1)):  # type: ignore[misc]
        def pause_writing(self) -> None:
            super().pause_writing()
            unsent.append(self._count_unsent())

        def on_response_complete(self) -> None:
            super().on_response_complete()
            answered.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 1000)

    async with serving(app, Watched) as port, reading_little(port) as client:
        while not unsent:
            answered.clear()
            await asyncio.get_running_loop().sock_sendall(client, GET)
            await answered.wait()
    assert 0 < unsent[0] < 4 * SEND_BUFFER_BYTES


async def test_connection_whose_buffer_the_system_does_not_limit_is_served_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "SO_SNDBUF", 9999)  # no option of any system
    async with serving(echo, limited_protocol(1)) as port, connected(port) as (reader, writer):
        await send(writer, GET)
        assert (await read_answer(reader)).status == 200
        assert [found.status for found in await exchange(port, NEXT)] == [200]
        assert await reader.read() == b""


async def test_connection_that_does_not_take_its_answer_may_go() -> None:
    """One that takes it, however long the whole of it is, stays."""
    paused = asyncio.Event()

    class Watched(limited_protocol(1)):  # type: ignore[misc]
        def pause_writing(self) -> None:
            super().pause_writing()
            paused.set()

    async with serving(talkative, Watched) as port:
        async with connected(port) as (reader, writer):
            await send(writer, GET)
            assert len((await read_answer(reader)).body) == TALK_BYTES
        paused.clear()
        async with connected(port) as (reader, writer):
            await send(writer, GET)
            await paused.wait()
            assert [found.status for found in await exchange(port, NEXT)] == [200]
