"""`kill -9` in the middle of the load: what was acknowledged is there after the start on the same directory.

Design, Contracts, 1: durable before visible.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import urlopen

import pytest
from device import Device
from loading import Crowd, Told
from running import Node, start

from waypost.coap.links import parse

DEVICES = 300
ANSWERS_MAX = 400  # acknowledgements between two kills
ANSWER_S = 10.0
ROUNDING_S = 0.01


@pytest.mark.timeout(600)
def test_fifty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, kills=50, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, kills=200, seed=2)


def kill_again_and_again(directory: Path, kills: int, seed: int) -> None:
    rng = Random(seed)
    crowd = Crowd(rng, DEVICES)
    for number in range(kills):
        node = start(directory)
        try:
            compare(crowd, node, f"seed {seed}, before kill {number}")
            crowd.load(node.port, rng.randrange(1, ANSWERS_MAX))
        finally:
            node.kill()
    node = start(directory)
    try:
        compare(crowd, node, f"seed {seed}, at the end")
    finally:
        node.kill()
    assert crowd.acknowledged > 100 * kills


def compare(crowd: Crowd, node: Node, when: str) -> None:
    """Also settles the unsure: what is found is what they are told now."""
    entries = {entry["ep"]: entry for entry in endpoints(node)}
    heard = time.monotonic()
    versions = documents(node)
    for name, told in crowd.told.items():
        entry = entries.get(name)
        possible = (told, crowd.unsure[name]) if name in crowd.unsure else (told,)
        fitting = [state for state in possible if fits(state, told, entry, versions.get(name), heard)]
        assert fitting, f"{when}: {name} was told {possible}, found {entry}, version {versions.get(name)}"
        if name in crowd.unsure:
            place = "/reg/" + entry["id"] if entry else None
            crowd.told[name] = Told(place, fitting[-1].lt, fitting[-1].since, versions.get(name, 0))
    crowd.unsure = {}


def fits(state: Told, before: Told, entry: Mapping[str, Any] | None, version: int | None, heard: float) -> bool:
    """Is this what is left of `state`?  A stored deadline may be later than promised by half a lifetime."""
    if entry is None or state.version == 0:
        return entry is None and state.version == 0
    kept = before.location in (None, "/reg/" + entry["id"])
    beyond = entry["expires_in"] - (state.lt - (heard - state.since))
    return (
        kept
        and (entry["lt"], version) == (state.lt, state.version)
        and -ROUNDING_S <= beyond <= state.lt / 2 + ANSWER_S
    )


def endpoints(node: Node) -> list[dict[str, Any]]:
    with urlopen(f"{node.http}/v1/endpoints?count={DEVICES}&page=0", timeout=ANSWER_S) as answer:
        listed: list[dict[str, Any]] = json.load(answer)["endpoints"]
    return listed


def documents(node: Node) -> dict[str, int]:
    """Name -> version of the document that its endpoint's links are from."""
    with Device(node.port) as device:
        body = device.get("/rd-lookup/res", "rt=version-*").payload
    found: dict[str, int] = {}
    for link in parse(body):
        name = link.href.removeprefix("coap://").partition(".")[0]
        found[name] = int((dict(link.attributes)["rt"] or "").removeprefix("version-"))
    return found
