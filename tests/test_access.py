"""Who may ask, and on whose account."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestra_router.errors import AccessDenied, BudgetExceeded, InvalidRequest
from orchestra_router.policy.keyring import Terms
from orchestra_router.types import Limits, Scope
from worlds import World, ask, open_world

TEAM = """
[budgets.user.ada]
day_usd = 0.000001

[[rules]]
name = "bob asks at home"
when = { user = "bob" }
require = ["ollama"]
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(tmp_path) as world:
        yield world


async def test_a_users_budget_holds_for_the_process_that_asks_for_that_user(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml=TEAM, user="ada") as world:
        with pytest.raises(BudgetExceeded, match="of user ada"):
            await world.router.complete(ask(provider="deepseek"))


async def test_a_rule_for_a_user_is_that_users_alone(tmp_path: Path) -> None:
    providers: list[str] = []
    for user in ("bob", "carol"):
        async with open_world(tmp_path, toml=TEAM, user=user) as world:
            providers.append((await world.router.complete(ask())).provider)

    assert providers[0] == "ollama"
    assert providers[1] != "ollama"


async def test_two_users_share_no_cached_answer_and_each_has_a_row_in_the_report(tmp_path: Path) -> None:
    cached: list[str] = []
    for user in ("carol", "dave", "carol"):
        async with open_world(tmp_path, user=user) as world:
            cached.append((await world.router.complete(ask("What is a prime?"))).cache)
            report = await world.router.cost_report(period="all", group_by="user")

    assert cached == ["MISS", "MISS", "HIT"]
    assert {row.group for row in report.rows} == {"carol", "dave"}  # pyright: ignore[reportPossiblyUnbound] - set three times


async def test_no_request_chooses_its_own_scope(tmp_path: Path) -> None:
    async with open_world(tmp_path, user="carol") as world:
        await world.router.complete(ask(scope=Scope("admin", "dave", "other")))
        report = await world.router.cost_report(period="all", group_by="user")

    assert {row.group for row in report.rows} == {"carol"}


# --- keys ------------------------------------------------------------------------------------------------------


async def test_whoever_has_a_key_is_let_in_as_what_it_says(world: World) -> None:
    made = await world.router.keyring.create(
        Terms(name="Ada, laptop", role="viewer", user="ada", limits=Limits(providers=("openai",)))
    )

    caller = await world.router.authenticate(made.secret)

    assert (caller.role, caller.key_id, caller.scope.user) == ("viewer", made.key.key_id, "ada")
    assert caller.scope.access_key == made.key.key_id
    assert caller.limits.providers == ("openai",)


async def test_forged_cut_and_mixed_up_keys_are_all_refused_alike(world: World, tmp_path: Path) -> None:
    keyring = world.router.keyring
    one, two = [await keyring.create(Terms(name=name)) for name in ("one", "two")]
    ork, key_id, secret = one.secret.split("_")
    other_file = tmp_path / "other"
    other_file.mkdir()
    async with open_world(other_file) as elsewhere:
        foreign = await elsewhere.router.keyring.create(Terms(name="one"))

    words = [
        await refusal(world, wrong)
        for wrong in (
            *("", "ork_", "local", "admin", key_id, secret, one.key.secrets[0].hash),
            *(
                one.secret[:-1],
                one.secret + "0",
                f" {one.secret}",
                one.secret.upper(),
                one.secret.encode("utf-16").hex(),
            ),
            *(f"{ork}_{secret}_{key_id}", f"{ork}_{two.key.key_id}_{secret}", f"{ork}_{key_id}_{secret[::-1]}"),
            *(f"{ork}_{key_id}_{one.key.secrets[0].hash}", f"{ork}_{'0' * 12}_{'0' * 64}", foreign.secret, "ö" * 5_000),
        )
    ]

    assert set(words) == {words[0]}
    assert key_id not in words[0]
    assert (await world.router.authenticate(one.secret)).key_id == key_id


async def test_a_key_that_has_expired_or_was_revoked_is_refused_like_one_that_never_was(world: World) -> None:
    keyring, clock = world.router.keyring, world.clock
    short = await keyring.create(Terms(name="short", expires_ms=clock.now_ms() + 60_000))
    long = await keyring.create(Terms(name="long"))
    await world.router.authenticate(short.secret)

    clock.advance(60)
    await keyring.revoke(long.key.key_id)

    assert await refusal(world, short.secret) == await refusal(world, long.secret) == await refusal(world, "ork_no")
    renamed = await keyring.edit(short.key.key_id, lambda terms: replace(terms, name="old"))
    assert renamed.name == "old"
    whys = [(row.body or {}).get("why") for row in await world.router.store.audit_rows() if row.kind == "key"]
    assert [why for why in whys if why] == ["expired", "revoked", "no such key"]


async def test_after_a_rotation_both_secrets_work_until_the_old_ones_time_is_over(world: World) -> None:
    old = await world.router.keyring.create(Terms(name="ada"))
    new = await world.router.keyring.rotate(old.key.key_id, overlap_s=3600)

    world.clock.advance(3599)
    both = [(await world.router.authenticate(each.secret)).key_id for each in (old, new)]
    world.clock.advance(1)
    await refusal(world, old.secret)

    assert both == [old.key.key_id] * 2
    assert (await world.router.authenticate(new.secret)).key_id == old.key.key_id


async def test_without_an_overlap_the_old_secret_ends_at_once_and_a_revoked_key_gets_no_new_one(world: World) -> None:
    old = await world.router.keyring.create(Terms(name="ada"))
    new = await world.router.keyring.rotate(old.key.key_id, overlap_s=0)
    await refusal(world, old.secret)

    await world.router.keyring.revoke(old.key.key_id)
    with pytest.raises(InvalidRequest, match="has been revoked"):
        await world.router.keyring.rotate(old.key.key_id, overlap_s=60)
    await refusal(world, new.secret)


async def test_what_becomes_of_keys_is_on_record_and_no_secret_nor_its_hash(world: World) -> None:
    made = await world.router.keyring.create(Terms(name="ada", role="viewer"))
    viewer = await world.router.authenticate(made.secret)
    await refusal(world, made.secret[:-4] + "0000")
    with pytest.raises(AccessDenied):
        await world.router.complete(ask(), caller=viewer)
    turned = await world.router.keyring.rotate(made.key.key_id, overlap_s=60)
    await world.router.keyring.edit(made.key.key_id, lambda terms: replace(terms, limits=Limits(concurrency=2)))
    await world.router.keyring.revoke(made.key.key_id)
    await refusal(world, turned.secret)
    await refusal(world, "ork_made_up")

    rows = [row for row in await world.router.store.audit_rows() if row.kind == "key"]
    told = [(row.subject, (row.body or {}).get("event"), (row.body or {}).get("why")) for row in rows]

    key_id = made.key.key_id
    assert told == [
        (key_id, "created", None),
        (key_id, "refused", "wrong secret"),
        (key_id, "refused", "not allowed: complete"),
        (key_id, "rotated", None),
        (key_id, "changed", None),
        (key_id, "revoked", None),
        (key_id, "refused", "revoked"),
        ("unknown", "refused", "no such key"),
    ]
    assert rows[4].body == {"event": "changed", "by": "local", "concurrency": 2}
    assert not (await world.router.store.verify_audit()).problems
    written = b"".join(path.read_bytes() for path in world.home.glob("orchestra.db*"))
    assert not [made for made in (made, turned) if made.secret.rpartition("_")[2].encode() in written]
    hashes = [secret.hash for secret in (await world.router.keyring.get(key_id)).secrets]
    assert not [row for row in rows for kept in hashes if kept in str(row)]


async def test_erasing_a_person_ends_and_unnames_the_keys_that_are_theirs(world: World) -> None:
    made = await world.router.keyring.create(Terms(name="Ada, laptop", user="ada"))
    exported: list[str] = []
    await world.router.store.export_user("ada", lambda kind, _: exported.append(kind))

    await world.router.store.erase_user("ada", now_ms=world.clock.now_ms())

    await refusal(world, made.secret)
    key = await world.router.keyring.get(made.key.key_id)
    assert "access key" in exported
    assert "ada" not in f"{key.name} {key.user}".lower()
    assert not (await world.router.store.verify_audit()).problems


async def test_whoever_tries_keys_for_long_does_not_fill_the_audit_trail(world: World) -> None:
    for _ in range(100):
        await refusal(world, "ork_made_up")
        world.clock.advance(1)

    rows = [row for row in await world.router.store.audit_rows() if row.kind == "key"]
    assert len(rows) == 2


async def refusal(world: World, secret: str) -> str:
    with pytest.raises(AccessDenied) as refused:
        await world.router.authenticate(secret)
    return str(refused.value)
