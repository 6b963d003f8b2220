"""Real nodes on a cable that is cut between two of them, both of which have to vote: the third brings what they say."""

import asyncio
import re
import time
from pathlib import Path
from random import Random

import pytest
from daemons import Daemon, Federation, put
from links import cabled

pytestmark = pytest.mark.peer("unshare:net", "device:/dev/net/tun")

CLAIMS = 20
NOTICED_S = 15.0  # until connections have timed out and others have been asked
QUICK_S = 1.0  # a claim by way of others, on a machine with other things to do


async def claim(federation: Federation, at: Daemon, version: int, prev: str) -> tuple[int, str]:
    """The status, and the hash of what stands there."""
    record = federation.operator.record(("around", "lamp"), version, prev, f"{version}", at.name, Random(version))
    status, _ = await put(at, record)
    return status, record.hash(federation.operator.network)


async def figure(daemon: Daemon, name: str) -> int:
    async with daemon.session() as session, session.get("/metrics") as answer:
        found = re.search(rf"^waypost_{name} (\S+)$", await answer.text(), re.M)
    assert found is not None, name
    return int(float(found[1]))


def test_two_voters_that_do_not_reach_each_other_vote_by_way_of_a_learner(tmp_path: Path) -> None:
    async def story(federation: Federation) -> None:
        await federation.found()
        one, two, three = federation.daemons
        await federation.promote({one.name, two.name}, one)
        status, prev = await claim(federation, one, 1, "")
        assert status == 200
        cable.cut(1, 2)
        cable.cut(2, 1)
        began = time.monotonic()
        version, took = 1, list[float]()
        while version <= CLAIMS:
            start = time.monotonic()
            assert start < began + NOTICED_S + CLAIMS * QUICK_S, (version, took)
            status, hash = await claim(federation, one, version + 1, prev)
            if status == 200:
                version, prev = version + 1, hash
                took.append(time.monotonic() - start)
            else:
                assert status in (202, 503), status
                await asyncio.sleep(0.2)
        quick = sorted(took[1:])
        print(f"first after {took[0]:.2f} s, then half within {quick[len(quick) // 2] * 1_000:.0f} ms")
        assert quick[len(quick) // 2] < QUICK_S
        assert await figure(three, "envelopes_passed_on_total") >= 2 * CLAIMS
        assert await figure(two, "envelopes_heard_total") >= CLAIMS
        assert [await figure(daemon, "quorum") for daemon in (one, two)] == [1, 1]
        cable.heal()
        await federation.until_converged()

    with cabled(3) as cable:
        federation = Federation(tmp_path, cable.stations)
        try:
            asyncio.run(asyncio.wait_for(story(federation), 110))
        finally:
            federation.end()
