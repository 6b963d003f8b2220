"""Who comes to join with another key than the roster has for its name: what is heard of it.  Notes on DRiP, 5.1."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from people import member

from waypost.api.newcomers import AT_ONCE, BODY_MAX, Newcomers
from waypost.api.server import application
from waypost.assembly.installation import LetIn
from waypost.drip.messages import Admit, RosterRequest
from waypost.drip.parcel import JOINING, Said, body_of
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.admission import Gate
from waypost.identity.certificates import Subject
from waypost.identity.keys import PublicKey, fingerprint, make_p256
from waypost.identity.policy import Action, Decision, Policy, Target, default
from waypost.record import Member
from waypost.runtime.http import serve
from waypost.runtime.nodes import NETWORK
from waypost.storage.keyring import Keyring

HERE = "ab" * 32
KNOWN, NEW = make_p256().public_key(), make_p256().public_key()
NOBODY = Policy.read({"allow": [{"who": ["anyone"], "do": ["discover"]}]}, "policy.toml").decide


def told(key: PublicKey, name: str = "dora") -> Member:
    plain = member(name)
    return Member(name, plain.incarnation, plain.key, plain.url, "", 2, (), (fingerprint(key),))


class House:
    """A node that has the authority, and knows dora by a key; whoever asks shows `who` and `key`."""

    def __init__(self, folder: Path) -> None:
        self.keyring = Keyring.open(folder, time.time_ns() // 1_000_000)
        self.keyring.pins.of = {"dora": (fingerprint(KNOWN),)}
        self.who, self.key = Identity("certificate", "dora", ("peer",)), NEW
        self.asked: list[object] = []
        self.others = 0
        self.decide = default().decide
        self.newcomers = Newcomers(lambda _: (self.who, self.key), self.ask, self.keyring, self._decide, HERE)

    async def ask(self, question: object) -> object:
        self.asked.append(question)
        return True

    def _decide(self, who: Identity, action: Action, target: Target) -> Decision:
        return self.decide(who, action, target)

    async def take(self, request: web.Request) -> web.StreamResponse:
        return await self.newcomers.take(request, self._others)

    async def _others(self, request: web.Request) -> web.StreamResponse:
        self.others += 1
        return web.Response()

    def say(self, *messages: Said, body: bytes = b"", network: str = HERE, times: int = 1) -> list[int]:
        return asyncio.run(self._say(body or body_of(messages), network, times))

    async def _say(self, body: bytes, network: str, times: int) -> list[int]:
        async def identify(_: web.Request) -> Identity:
            return ANONYMOUS

        app = application(self.ask, dict, identify, self.decide, Gate(1_000, 1_000), routes=())
        app.router.add_post(JOINING, self.take)
        server = await serve(app, "127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(headers={NETWORK: network}) as session:
                url = f"http://127.0.0.1:{server.address.port}{JOINING}"
                statuses = []
                for _ in range(times):
                    async with session.post(url, data=body) as answer:
                        statuses.append(answer.status)
                return statuses
        finally:
            await server.close()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def certify(house: House, key: PublicKey, name: str = "dora", role: str = "peer") -> None:
    house.keyring.issue(Subject(role, name, days=30), key, time.time_ns() // 1_000_000)


def test_it_may_ask_to_be_let_in_and_nobody_vouches_for_it(house: House) -> None:
    assert house.say(Admit(told(NEW), "5d" * 64)) == [200]
    assert house.asked == [LetIn(told(NEW), "5d" * 64, is_vouched=False)]
    assert house.others == 0


def test_the_authority_vouches_for_the_key_that_it_certified(house: House) -> None:
    certify(house, NEW)
    assert house.say(Admit(told(NEW))) == [200]
    assert house.asked == [LetIn(told(NEW), "", is_vouched=True)]


@pytest.mark.parametrize("other", ["key", "name", "role", "what it says", "elsewhere"])
def test_it_vouches_for_nothing_else(house: House, other: str) -> None:
    says = told(KNOWN) if other == "what it says" else told(NEW)
    certify(
        house,
        KNOWN if other == "key" else NEW,
        "emma" if other == "name" else "dora",
        "device" if other == "role" else "peer",
    )
    if other == "elsewhere":
        (house.keyring.folder / "ca.pem").unlink()
    assert house.say(Admit(says)) == [200]
    assert house.asked == [LetIn(says, "", is_vouched=False)]


@pytest.mark.parametrize("said", [RosterRequest(1), Admit(told(NEW, "emma"))])
def test_it_may_say_nothing_else_and_not_for_others(house: House, said: Said) -> None:
    assert house.say(said) == [403]
    assert house.say(Admit(told(NEW)), said) == [403]
    assert house.asked == []


def test_whoever_is_known_by_the_key_or_by_name_alone_is_heard_like_anybody(house: House) -> None:
    house.key = KNOWN
    assert house.say(Admit(told(NEW))) == [200]
    house.key, house.who = NEW, Identity("certificate", "emma", ("peer",))
    assert house.say(Admit(told(NEW, "emma"))) == [200]
    assert house.others == 2
    assert house.asked == []


def test_what_it_says_has_bounds_and_is_of_this_network(house: House) -> None:
    assert house.say(Admit(told(NEW)), network="cd" * 32) == [403]
    assert house.say(body=b"[" + b" " * BODY_MAX + b"]") == [413]
    assert house.say(body=b"no array") == [400]
    assert house.asked == []


def test_it_may_ask_so_often_and_no_more(house: House) -> None:
    assert house.say(Admit(told(NEW)), times=AT_ONCE + 1) == [200] * AT_ONCE + [429]


def test_whom_the_policy_does_not_answer_is_not_heard(house: House) -> None:
    house.decide = NOBODY
    assert house.say(Admit(told(NEW))) == [403]
    assert house.asked == []
