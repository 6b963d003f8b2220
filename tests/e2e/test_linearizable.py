"""Ten clients at five nodes: of each key they see one register, whichever node they ask.

Source: notes on DRiP, 4.12 (I6, I13).
"""

import asyncio
from pathlib import Path

import pytest
from auditing import audit
from claiming import Client, Memory, settle, settled_alike
from daemons import Federation
from history import violation

VOTERS = 5
CLIENTS = 10
KEYS = 4


@pytest.mark.timeout(240)
def test_ten_clients_at_five_nodes_see_one_register(tmp_path: Path) -> None:
    memory = asyncio.run(story(tmp_path, load_s=5.0))
    assert sum(map(len, memory.histories.values())) > 50


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_clients_see_one_register_for_minutes(tmp_path: Path) -> None:
    memory = asyncio.run(story(tmp_path, load_s=300.0))
    assert sum(map(len, memory.histories.values())) > 5_000


async def story(directory: Path, load_s: float) -> Memory:
    federation, memory = Federation(directory, VOTERS), Memory()
    try:
        await federation.found()
        clients = [Client(number, federation, memory, KEYS) for number in range(CLIENTS)]
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run(stop))
            await asyncio.sleep(load_s)
            stop.set()
        await settle(clients[0])
        await federation.until_converged()
        await federation.until_whole()
        await settled_alike(federation, memory)
        for daemon in federation.daemons:
            daemon.stop()
    finally:
        federation.end()
    for place, history in memory.histories.items():
        assert (wrong := violation(history)) is None, f"{place}: {wrong}"
    audit((daemon.files for daemon in federation.daemons), federation.operator.network, memory)
    return memory
