"""The mesh under load: five voters on loopback, beside etcd's cluster of three.

    ./dev bench drip [--quick] [--json FILE] [--write docs/performance-mesh.md]

The voters run as `waypost run` with their real stores, and so do etcd's members; both are up all the while, and each is
measured in turn by the same client, so that what else the machine does befalls both.  Rates on shared machines vary by
a factor of two: the ratios are what counts.  --write writes the page of the documentation.
"""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load import etcd as yardstick
from load import mesh as voting
from load.closed import Job, Measured, closed_loop, middle
from load.etcd import Etcd, etcd
from load.floor import floor
from load.gossip import gossip
from load.mesh import Mesh, mesh
from load.meshpage import Report, page
from load.page import machine
from load.servers import state_directory
from load.simulated import converging
from load.web import Web

VALUE: Final = "x" * 256
PEERS: Final = 8  # connections


@dataclass(frozen=True)
class Plan:
    in_flight: int
    rounds: int  # odd: the middle one counts
    seconds: float  # of each run
    warm_s: float
    probes: int
    registering_s: float
    alone: int  # registrations one after the other
    nodes: int  # in the simulator
    records: int


FULL = Plan(
    in_flight=64, rounds=3, seconds=8.0, warm_s=2.0, probes=1_000, registering_s=8.0, alone=200, nodes=100, records=60
)
QUICK = Plan(in_flight=4, rounds=1, seconds=1.0, warm_s=0.0, probes=20, registering_s=0.5, alone=5, nodes=5, records=5)

Ways = dict[str, tuple[tuple[int, ...], Callable[[int], Awaitable[list[Job]]]]]


def ways(ours: Mesh, theirs: Etcd | None, leader: int, in_flight: int) -> Ways:
    """Name -> the servers, and what makes the clients of a round."""

    async def livez(_: int) -> list[Job]:
        return [asking(await Web.connect(ours.voters[0].http), "GET", "/livez")]

    async def peers(_: int) -> list[Job]:
        """What a node that has nothing to say would send."""
        first, second = ours.voters[:2]
        field = f"Waypost-Network: {(await ours.shown())['network']}\r\n"
        webs = [await Web.connect(first.peers, second.tls()) for _ in range(PEERS)]
        return [asking(web, "POST", f"/heartbeat/node/{second.name}", b"[]", field) for web in webs]

    def claims(count: int, prefix: str, *, at_home: bool) -> Callable[[int], Awaitable[list[Job]]]:
        return lambda number: voting.jobs(ours, count, f"{prefix}{number}", VALUE, at_home=at_home)

    def puts(ports: list[int], prefix: str) -> Callable[[int], Awaitable[list[Job]]]:
        return lambda number: yardstick.jobs(ports, f"{prefix}{number}", VALUE)

    found: Ways = {
        "home": (ours.pids, claims(in_flight, "home", at_home=True)),
        "entry": (ours.pids, claims(in_flight, "entry", at_home=False)),
        "alone": (ours.pids, claims(1, "alone", at_home=True)),
        "request": (ours.pids[:1], livez),
        "peers": (ours.pids[:1], peers),
    }
    if theirs:
        spread = [theirs.ports[number % len(theirs.ports)] for number in range(in_flight)]
        found["etcd home"] = theirs.pids, puts([leader] * in_flight, "home")
        found["etcd entry"] = theirs.pids, puts(spread, "entry")
        found["etcd alone"] = theirs.pids, puts([leader], "alone")
    return found


def asking(web: Web, method: str, path: str, body: bytes = b"", fields: str = "") -> Job:
    async def ask() -> None:
        status, answer = await web.ask(method, path, body, fields)
        if status != 200:
            raise RuntimeError(f"{path} was answered with {status}: {answer[:500].decode(errors='replace')}")

    return ask


async def measure(ours: Mesh, theirs: Etcd | None, plan: Plan, folder: Path) -> dict[str, Any]:
    await ours.ready()
    leader = 0
    if theirs:
        await theirs.ready()
        leader = await theirs.leader()
    every = ways(ours, theirs, leader, plan.in_flight)
    runs: dict[str, list[Measured]] = {name: [] for name in every}
    floors = []
    for number in range(plan.rounds):
        tell(f"round {number + 1} of {plan.rounds}")
        floors.append(floor(folder, plan.probes))
        for name, (pids, clients) in every.items():
            counted = ours.requests if pids == ours.pids else None
            run = await closed_loop(await clients(number), plan.seconds, pids, plan.warm_s, counted)
            tell(f"  {name:12} {run.per_second:8,.0f}/s  {run.p50_ms:7.2f} ms  {run.server_us:6,.0f} us")
            runs[name].append(run)
    tell("registrations")
    return {
        "floor": {name: sorted(each[name] for each in floors)[plan.rounds // 2] for name in floors[0]},
        "runs": {name: middle(each).figures() for name, each in runs.items()},
        "gossip": await gossip(ours, plan.in_flight, plan.registering_s, plan.alone),
        "etcd": theirs.version if theirs else None,
    }


def tell(sentence: str) -> None:
    print(sentence, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench drip", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds: does the bench work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page of the documentation")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    with state_directory() as folder:
        report: Report = {
            "machine": machine(folder),
            "in_flight": plan.in_flight,
            "rounds": plan.rounds,
            "octets": len(VALUE),
        }
        with mesh(folder) as ours, etcd(folder) as theirs:
            report |= asyncio.run(measure(ours, theirs, plan, folder))
    tell(f"{plan.nodes} nodes in the simulator")
    report["simulated"] = {"nodes": plan.nodes, "links": converging(plan.nodes, plan.records)}
    text = page(report)
    print("\n" + text)
    if options.quick:
        tell("A quick run shows that the bench works; its figures mean nothing.")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.write:
        options.write.write_text(text)


if __name__ == "__main__":
    main()
