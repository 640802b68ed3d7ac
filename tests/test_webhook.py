"""Alerts at a webhook: signed, repeated until they are taken, once over all processes, and in nobody's way."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import h11
import pytest

from clocks import FakeClock
from ledgers import NOW_MS, an_alert, raise_alert
from orchestra_router.config import load
from orchestra_router.errors import ConfigError
from orchestra_router.policy.webhook import KEEP_MS, Webhook
from orchestra_router.store.db import SqliteStore
from orchestra_router.transport import Transport
from worlds import ask, open_world

SECRET = "a-secret-of-the-receiver"


@dataclass(slots=True)
class Receiver:
    """A real server on loopback; answers with `statuses` in order, then 204."""

    statuses: list[int] = field(default_factory=list[int])
    received: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list[tuple[Mapping[str, str], bytes]])
    url: str = ""
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        headers: dict[str, str] = {}
        body = b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
        self.received.append((headers, body))
        status = self.statuses.pop(0) if self.statuses else 204
        head = h11.Response(status_code=status, headers=[("connection", "close"), ("location", "http://127.0.0.1:1/")])
        writer.write((connection.send(head) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        writer.close()
        self._arrived.set()

    async def wait_for(self, count: int) -> None:
        with anyio.fail_after(20):
            while len(self.received) < count:
                self._arrived.clear()
                await self._arrived.wait()

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    yield receiver
    server.close()
    await server.wait_closed()


@dataclass(frozen=True, slots=True)
class Sender:
    store: SqliteStore
    clock: FakeClock
    webhook: Webhook


@asynccontextmanager
async def sender(
    home: Path, receiver: Receiver, *, start: bool = True, clock: FakeClock | None = None
) -> AsyncGenerator[Sender]:
    """One process that delivers."""
    clock = clock or FakeClock()
    store = await SqliteStore.open(home / "orchestra.db", clock=clock)
    transport = Transport(clock)
    webhook = Webhook(store, transport, clock, url=receiver.url, secret=SECRET)
    if start:
        webhook.start()
    try:
        yield Sender(store, clock, webhook)
    finally:
        await webhook.aclose()
        await transport.aclose()
        await store.close()


async def emptied(store: SqliteStore) -> None:
    with anyio.fail_after(20):
        while await store.next_delivery_ms() is not None:
            await anyio.lowlevel.checkpoint()


def settings(receiver: Receiver) -> dict[str, Any]:
    return {"alert_webhook": receiver.url, "webhook_secret": SECRET, "alert_day_usd": "0"}


async def test_an_alert_is_posted_and_can_be_checked_with_the_secret(tmp_path: Path, receiver: Receiver) -> None:
    async with open_world(tmp_path, **settings(receiver)) as world:
        await world.router.complete(ask())
        await receiver.wait_for(1)
        await emptied(world.router.store)  # pyright: ignore[reportArgumentType]

    headers, body = receiver.received[0]
    signature = hmac.new(SECRET.encode(), headers["x-orchestra-timestamp"].encode() + b"." + body, hashlib.sha256)
    assert headers["x-orchestra-signature"] == f"sha256={signature.hexdigest()}"
    assert headers["x-orchestra-timestamp"] == str(NOW_MS // 1000)
    assert headers["x-orchestra-delivery"] == json.loads(body)["id"]
    assert json.loads(body) | {"id": ""} == {
        "id": "",
        "kind": "spend",
        "text": "Spend of 2026-11-23 has passed the alert threshold of $0.00",
        "holder": "global",
        "period": "2026-11-23",
        "threshold_usd": 0.0,
        "at": "2026-11-23T16:00:00+00:00",
    }


async def test_what_is_not_taken_is_sent_again_later_and_later_under_the_same_id(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [500, 302, 404]
    async with sender(tmp_path, receiver) as one:
        await raise_alert(one.store, an_alert())
        one.webhook.wake()
        await receiver.wait_for(4)
        await emptied(one.store)

    first, second, third = [pause for pause in one.clock.slept if pause > 0.2][:3]
    assert first <= 1.5 < 1.5 * 2 >= second
    assert 2 <= third <= 6
    assert len({body["id"] for body in receiver.bodies()}) == 1
    assert "status 500" in caplog.text
    assert receiver.url not in caplog.text


async def test_an_alert_that_was_not_delivered_before_the_end_is_delivered_after_a_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with sender(tmp_path, receiver, start=False) as earlier:
        await raise_alert(earlier.store, an_alert())

    async with sender(tmp_path, receiver) as later:
        await receiver.wait_for(1)
        await emptied(later.store)

    assert [body["text"] for body in receiver.bodies()] == ["Too much."]


class RealTime(FakeClock):
    """Runs no faster than deliveries do, so that no claim expires meanwhile."""

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(min(seconds, 0.05))


async def test_of_several_processes_one_delivers(tmp_path: Path, receiver: Receiver) -> None:
    clock = RealTime()
    async with sender(tmp_path, receiver, clock=clock) as one, sender(tmp_path, receiver, clock=clock) as two:
        for threshold in range(5):
            await raise_alert(one.store, an_alert(threshold_nusd=threshold))
        one.webhook.wake()
        two.webhook.wake()
        await receiver.wait_for(5)
        await emptied(one.store)

    assert len(receiver.received) == len({body["id"] for body in receiver.bodies()}) == 5


async def test_what_a_dead_process_had_claimed_is_delivered_by_another(tmp_path: Path, receiver: Receiver) -> None:
    async with sender(tmp_path, receiver, start=False) as one:
        await raise_alert(one.store, an_alert())
        claimed = await one.store.claim(by="somebody who dies", now_ms=NOW_MS, until_ms=NOW_MS + 30_000)
        one.webhook.start()
        await receiver.wait_for(1)

    assert claimed is not None
    assert sum(one.clock.slept) == pytest.approx(30, abs=0.2)


async def test_an_alert_of_yesterday_is_not_sent_any_more(tmp_path: Path, receiver: Receiver) -> None:
    async with sender(tmp_path, receiver, start=False) as one:
        await raise_alert(one.store, an_alert(at_ms=NOW_MS - KEEP_MS - 1))
        await raise_alert(one.store, an_alert(threshold_nusd=7))
        one.webhook.start()
        await receiver.wait_for(1)
        await emptied(one.store)

    assert [body["threshold_usd"] for body in receiver.bodies()] == [7e-9]


async def test_a_clock_that_goes_back_does_not_hold_an_alert_up(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500]
    async with sender(tmp_path, receiver, start=False) as one:
        await raise_alert(one.store, an_alert())
        delivery = await one.store.claim(by="me", now_ms=NOW_MS, until_ms=NOW_MS + 1)
        assert delivery is not None
        await one.store.postpone(delivery.delivery_id, by="me", due_ms=NOW_MS + 1000)
        one.clock.set_wall_back(86_000)
        one.webhook.start()
        await receiver.wait_for(1)

    assert sum(one.clock.slept) < 60


async def test_a_receiver_that_does_not_answer_holds_no_request_up(tmp_path: Path, receiver: Receiver) -> None:
    reached, ended = anyio.Event(), anyio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await ended.wait()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with open_world(tmp_path, **settings(receiver)) as world:
        await world.router.complete(ask("One."))
        with anyio.fail_after(10):
            await reached.wait()
        completion = await world.router.complete(ask("Two."))
    ended.set()
    server.close()
    await server.wait_closed()
    await anyio.lowlevel.checkpoint()

    assert completion.answer.text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/hook", "must be https, except on this machine"),
        ("https://user:pass@example.com/", "no user, password"),
        ("ftp://example.com/", "must be a URL that begins with https://"),
        ("http://169.254.169.254/", "metadata service"),
        ("https://example.com/hook", "set `ORCHESTRA_WEBHOOK_SECRET`"),
    ],
)
def test_a_webhook_that_cannot_be_used_is_explained(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({"ORCHESTRA_HOME": str(tmp_path), "ORCHESTRA_ALERT_WEBHOOK": url, "ORCHESTRA_ALLOW_INSECURE_HTTP": "true"})

    assert words in str(refused.value)
    assert url not in str(refused.value)


def test_the_secret_can_stand_in_a_file_and_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    environ = {"ORCHESTRA_HOME": str(tmp_path), "ORCHESTRA_ALERT_WEBHOOK": "https://example.com/T0/a-token"}

    config = load(environ | {"ORCHESTRA_WEBHOOK_SECRET_FILE": str(tmp_path / "secret")})

    assert config.keys.get("webhook") == SECRET
    assert SECRET not in repr(config)
    assert "a-token" not in repr(config)
