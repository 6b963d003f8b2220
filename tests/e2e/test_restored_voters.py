"""A voter that is restored from a backup votes no more as who it was, and loses nobody anything."""

import asyncio
import json
import os
import tarfile
from pathlib import Path
from random import Random

from daemons import Daemon, Federation, members, put, until, waypost

from waypost.identity.keys import write_private

PLACE = ("restored", "lamp")


async def claim(federation: Federation, at: Daemon, value: str) -> int:
    """The version that it became."""
    version, prev = 1, ""
    async with at.session() as session, session.get(f"/v1/records/{PLACE[0]}/{PLACE[1]}?quorum=true") as answer:
        if answer.status == 200:
            following = (await answer.json())["next"]
            version, prev = following["version"], following["prev"]
    record = federation.operator.record(PLACE, version, prev, value, at.name, Random(value))
    status, told = await put(at, record)
    assert status == 200, told
    return version


async def standing(at: Daemon) -> tuple[int, str]:
    found = await at.ask(f"/v1/records/{PLACE[0]}/{PLACE[1]}")
    return found["record"]["version"], found["record"]["value"]


async def history(at: Daemon) -> list[tuple[int, str]]:
    found = await at.ask(f"/v1/records/{PLACE[0]}/{PLACE[1]}/history")
    return [(version["record"]["version"], version["record"]["value"]) for version in found["records"]]


async def backed_up(daemon: Daemon, file: Path) -> None:
    await asyncio.to_thread(waypost, (), "backup", str(file), "--dir", str(daemon.directory))
    checked = await asyncio.to_thread(waypost, (), "backup", "verify", str(file))
    assert checked["ok"] is True


async def restored(daemon: Daemon, file: Path) -> None:
    daemon.kill()
    await asyncio.to_thread(waypost, (), "restore", str(file), "--dir", str(daemon.directory), "--replace")
    await asyncio.to_thread(daemon.start)


def test_a_voter_restored_from_an_old_backup_is_let_in_again_and_learns_all_that_it_missed(tmp_path: Path) -> None:
    async def story() -> None:
        federation = Federation(tmp_path, 3)
        try:
            await federation.found()
            first, second, _ = federation.daemons
            assert await claim(federation, second, "before") == 1
            await backed_up(second, tmp_path / "file")
            before = members(await first.ask("/v1/peers"))[second.name]["incarnation"]
            assert await claim(federation, second, "after") == 2
            await restored(second, tmp_path / "file")
            assert (await second.ask("/v1/peers"))["is_voting"] is False
            assert await claim(federation, first, "meanwhile") == 3
            await federation.readmit(second, first)
            assert members(await first.ask("/v1/peers"))[second.name]["incarnation"] > before
            assert await claim(federation, second, "again") == 4
            await federation.until_converged()
            assert await standing(second) == (4, "again")
            await federation.until_whole()
            assert await history(second) == [(1, "before"), (2, "after"), (3, "meanwhile"), (4, "again")]
        finally:
            federation.end()

    asyncio.run(story())


def test_the_only_voter_votes_again_once_its_operator_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        federation = Federation(tmp_path, 1)
        try:
            await federation.found()
            (lone,) = federation.daemons
            await claim(federation, lone, "before")
            await backed_up(lone, tmp_path / "file")
            await claim(federation, lone, "lost")
            await restored(lone, tmp_path / "file")
            peers = await lone.ask("/v1/peers")
            assert peers["is_voting"] is False
            assert [member["incarnation"] for member in peers["applicants"]] == [peers["incarnation"]]
            assert await standing(lone) == (1, "before")
            await asyncio.to_thread(force, federation, lone, tmp_path / "operator.pem")

            async def votes() -> bool:
                return bool((await lone.ask("/v1/peers"))["is_voting"])

            await until(votes, "it votes")
            assert await claim(federation, lone, "anew") == 2
            assert await standing(lone) == (2, "anew")
        finally:
            federation.end()

    asyncio.run(story())


def force(federation: Federation, lone: Daemon, file: Path) -> None:
    with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        stream.write(write_private(federation.operator.key))
    line = ("peers", "force", lone.name, "--accept-loss", "--key", str(file), "--dir", str(lone.directory))
    waypost((), *line)


def test_what_a_backup_says_of_itself_is_in_its_manifest(tmp_path: Path) -> None:
    async def story() -> None:
        federation = Federation(tmp_path, 1)
        try:
            await federation.found()
            await backed_up(federation[1], tmp_path / "file")
            with tarfile.open(tmp_path / "file") as archive:
                manifest = archive.extractfile("manifest.json")
                assert manifest is not None
                assert json.load(manifest)["network"] == federation.operator.network
        finally:
            federation.end()

    asyncio.run(story())
