"""A primary that Sentinels name, with passwords, and a failover (contract 102)."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from tests.polling import PATIENCE_S, until
from tests.ports import free_port
from vyrox.errors import QueueUnavailableError
from vyrox.settings.redis_url import redis_url, sentinels_of
from vyrox.store import redis as store_redis
from vyrox.store.redis import connect, redis_call
from vyrox.store.valkey import server_path

PASSWORD = "of-the-servers"
OWN = "of-the-sentinels"


@contextlib.contextmanager
def running(directory: Path, name: str, port: int, lines: str, *options: str) -> Iterator[None]:
    file = directory / f"{name}.conf"
    file.write_text(f"port {port}\nbind 127.0.0.1\ndir {directory}\ndbfilename {name}.rdb\n{lines}")
    log = directory / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen([server_path(), file, *options], stdout=out)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline and process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)  # there is no event of another process
            yield
        finally:
            process.terminate()
            process.wait()


@pytest.mark.long
async def test_a_failover_is_followed_contract_102(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_redis, "CALL_TIMEOUT_S", 10.0)
    first, second, asked = free_port(), free_port(), free_port()
    servers = (
        f'requirepass "{PASSWORD}"\nmasterauth "{PASSWORD}"\nsave ""\nrepl-diskless-sync-delay 0\n'
    )
    sentinel = (
        f'requirepass "{OWN}"\nsentinel monitor queue 127.0.0.1 {first} 1\n'
        f"sentinel auth-pass queue {PASSWORD}\nsentinel down-after-milliseconds queue 60000\n"
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(tmp_path, "first", first, servers))
        replica = f"{servers}replicaof 127.0.0.1 {first}\n"
        stack.enter_context(running(tmp_path, "second", second, replica))
        stack.enter_context(running(tmp_path, "sentinel", asked, sentinel, "--sentinel"))
        url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{asked}/queue?db=0&sentinel_password={OWN}"
        async with connect(redis_url(url)) as client:
            async with redis_call():
                await client.set("key", "before")
                assert (await client.info())["tcp_port"] == first
            own = redis.asyncio.Redis(port=asked, password=OWN)
            other = redis.asyncio.Redis(port=second, password=PASSWORD)

            async def is_ready() -> bool:
                linked = (await other.info())["master_link_status"] == "up"
                return linked and len(await own.sentinel_slaves("queue")) == 1

            async def is_primary() -> bool:
                return bool((await other.info())["role"] == "master")

            await until(is_ready)
            await own.execute_command("SENTINEL FAILOVER queue")  # type: ignore[no-untyped-call]
            await until(is_primary)

            async def is_followed() -> bool:
                try:
                    async with redis_call():
                        await client.set("key", "after")
                        return bool((await client.info())["tcp_port"] == second)
                except QueueUnavailableError:  # while the roles change; the service tries again
                    return False

            await until(is_followed)
            await own.aclose()
            await other.aclose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://h1,h2", "with the name that the Sentinels"),
        ("redis+sentinel:///queue", "with the name that the Sentinels"),
        ("redis+sentinel://h1,/queue", "with the name that the Sentinels"),
        ("redis+sentinel://h1:99999/queue", "with the name that the Sentinels"),
        ("redis+sentinel://:s3cret@h1/queue?socket_timeout=5", "no parameters but db"),
        ("redis+sentinel://:s3cret@h1/queue?ssl_ca_certs=x", "that redis-py takes"),
    ],
)
def test_a_bad_url_of_sentinels_is_refused_contract_102(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        redis_url(url)
    assert "s3cret" not in str(caught.value)


def test_a_url_of_sentinels_is_read_contract_102() -> None:
    found = sentinels_of("rediss+sentinel://u:p%40@a:1,[::1],b.c/queue?db=3&sentinel_username=s")
    assert found is not None
    assert found.hosts == (("a", 1), ("::1", 26379), ("b.c", 26379))
    assert found.service == "queue"
    assert found.url == "rediss://u:p%40@sentinel?db=3"
    assert found.login == ("s", "")


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_a_url_or_an_error_of_ours_contract_102(text: str) -> None:
    for url in (f"redis+sentinel://{text}", f"redis+sentinel://:s3cret@h/q?{text}", text):
        with contextlib.suppress(ValueError):
            assert redis_url(url) == (sentinels_of(url) or url)
