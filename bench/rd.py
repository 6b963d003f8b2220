"""The resource directory under load, beside two servers that we did not write.

    ./dev bench rd [--quick] [--long] [--json FILE] [--write docs/performance.md]

Our node runs as `waypost run` with its real store, at 1,000, 10,000 and 100,000 registrations of five links, every
document distinct; figures are medians of three runs.  aiocoap-rd runs on the same load up to 10,000, where one lookup
takes it a second; libcoap's example server answers GET /time, as a ceiling.  The load comes over UDP on loopback
from `coapload.c`, whose sources are validated before anything is counted.  CPU time is that of the whole server
process, from /proc; rates on shared machines vary by a factor of two, CPU time is the steady number.
--long adds a start with a million registrations of 50 firmwares.  --write also draws performance.svg beside the page.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load.generator import build, load
from load.page import BOTH, EXACT, NEW, RENEW, UNLIKE, Report, machine, page
from load.plot import plot, series_of
from load.servers import HOST, Server, aiocoap_rd, libcoap, state_directory, waypost
from load.stored import store_fleets

Measures = dict[str, Any]
Arguments = list[str | int | float | Path]

LINKS = (
    '</s/temp>;rt="temperature";if="sensor";ct=0,</s/hum>;rt="humidity";if="sensor";ct=0,'
    '</s/light>;rt="light-lux";if="sensor";ct=0,</a/led>;rt="led";if="actuator",</id>;rt="unique-%d"'
)
NO_LINK_SHARED = (
    '</s/temp-%d>;rt="temperature";if="sensor";ct=0,</s/hum-%d>;rt="humidity";if="sensor";ct=0,'
    '</s/light-%d>;rt="light-lux";if="sensor";ct=0,</a/led-%d>;rt="led";if="actuator",</id>;rt="unique-%d"'
)
BURST = 1024
LOOKUPS, CHANGES = 20_000, 1_000  # a second, together
FIRMWARES = 50
SOURCES = 160  # hosts that observe: what one may is bounded


@dataclass(frozen=True)
class Plan:
    sizes: tuple[int, ...]
    peer_sizes: tuple[int, ...]
    repetitions: int
    seconds: float  # of each run
    news: int  # new registrations of each run
    slow: int  # requests at most to aiocoap-rd of one kind
    paced: float  # seconds of lookups and changes together
    many: int  # registrations of --long


FULL = Plan(
    sizes=(1_000, 10_000, 100_000),
    peer_sizes=(1_000, 10_000),
    repetitions=3,
    seconds=1.5,
    news=4_000,
    slow=500,
    paced=5.0,
    many=1_000_000,
)
QUICK = Plan(sizes=(50, 200), peer_sizes=(50,), repetitions=1, seconds=0.1, news=50, slow=20, paced=0.5, many=2_000)


class Bench:
    """Runs the generator against one server that holds `size` registrations."""

    def __init__(self, program: Path, server: Server, plan: Plan, folder: Path) -> None:
        self.program, self.server, self.plan = program, server, plan
        self.locations = folder / "locations"
        self.size = 0
        self.slow = server.name == "aiocoap-rd"

    def run(self, *arguments: str | int | float | Path) -> Measures:
        return load(self.program, HOST, self.server.port, "-S", self.server.pid, *arguments)

    def fill(self, size: int, links: str = LINKS) -> dict[str, Any]:
        """`size` registrations, and what each adds to the resident memory."""
        self.register(1)  # what is loaded at the first use is not the registrations' memory
        before = self.server.rss()
        measures = self.register(size, links)
        return {"fill": measures, "octets": (self.server.rss() - before) / size}

    def register(self, count: int, links: str = LINKS) -> Measures:
        """`count` new endpoints, in order; remembers their locations."""
        conns: Arguments = ["-c", 16, "-T", 30] if self.slow else ["-c", 64, "-T", 10]
        numbers: Arguments = ["-s", "-o", self.size, "-r", count, "-n", count, "-O", self.locations]
        measures = self.run(*self.registration(links), *numbers, *conns)
        self.size += count
        return expect(measures, "2.01")

    def registration(self, links: str = LINKS) -> Arguments:
        query = ["-q", "ep=node%d", "-q", "base=coap://n%d.example.net", "-q", "lt=86400"]
        return ["-m", "POST", *segments(self.server.register), *query, "-f", 40, "-b", links]

    def lookup(self, path: tuple[str, ...], *query: str) -> Arguments:
        return [*segments(path), *(word for part in query for word in ("-q", part))]

    def operations(self) -> dict[str, tuple[Arguments, str]]:
        """Name -> (what to ask, the code that every answer must have)."""
        endpoints, resources = self.server.endpoints, self.server.resources
        exact, both = self.lookup(endpoints, "ep=node%d"), self.lookup(resources, "ep=node%d", "rt=temperature")
        unlike = {} if self.slow else {EXACT + UNLIKE: ([*exact, "-u"], "2.05"), BOTH + UNLIKE: ([*both, "-u"], "2.05")}
        return {
            "register again, unchanged": (self.registration(), "2.01"),
            "renew": (["-m", "POST", "-l", self.locations], "2.04"),
            EXACT: (exact, "2.05"),
            "resource lookup, ep": (self.lookup(resources, "ep=node%d"), "2.05"),
            "resource lookup, rt of one": (self.lookup(resources, "rt=unique-%d"), "2.05"),
            BOTH: (both, "2.05"),
            "resource lookup, rt of all, a page of 10": (
                self.lookup(resources, "rt=temperature", "page=0", "count=10"),
                "2.05",
            ),
            "endpoint lookup, ep by a prefix, a page of 8": (
                self.lookup(endpoints, "ep=node%d*", "page=0", "count=8"),
                "2.05",
            ),
            **unlike,
        }

    def measure(self) -> dict[str, Measures]:
        """Every operation at the present size."""
        return {name: self.middle(code, *ask, *self.length(name)) for name, (ask, code) in self.operations().items()}

    def length(self, name: str) -> Arguments:
        """How long to measure, over all registrations."""
        if "prefix" in name:  # one digit less than most have
            return ["-o", self.size // 100, "-r", self.size // 10 - self.size // 100, *self.length("lookup")[2:]]
        if not self.slow:
            return ["-r", self.size, "-d", self.plan.seconds, "-T", 10]
        # A lookup there takes 0.1 ms for each registration.
        count = max(5, min(self.plan.slow, 50_000 // self.size)) if "lookup" in name else self.plan.slow
        return ["-r", self.size, "-n", count, "-c", 4, "-w", 1, "-T", 60]

    def deep_page(self) -> Measures:
        """One of the first hundred pages; only so many large lookups may be under way."""
        ask = self.lookup(self.server.resources, "rt=temperature", "page=%d", "count=10")
        return self.middle("2.05", *ask, "-r", min(100, self.size // 10), "-d", self.plan.seconds, "-c", 16, "-w", 1)

    def alone(self) -> Measures:
        """An endpoint lookup at a time: what one client waits."""
        ask = self.lookup(self.server.endpoints, "ep=node%d")
        return self.middle("2.05", *ask, "-r", self.size, "-c", 1, "-w", 1, "-d", self.plan.seconds)

    def together(self, run: int) -> dict[str, Measures]:
        """Lookups and changes at a pace; each run's links are new ones."""
        lookups = [*self.lookup(self.server.endpoints, "ep=node%d"), "-R", LOOKUPS]
        changes = [*self.registration(LINKS.replace("unique", f"changed{run}")), "-s", "-R", CHANGES]
        both: Arguments = ["-r", self.size, "-d", self.plan.paced]
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(self.run, *lookups, *both)
            changed = pool.submit(self.run, *changes, *both)
            return {"lookups": expect(asked.result(), "2.05"), "changes": expect(changed.result(), "2.01")}

    def observe(self, count: int) -> float:
        """Octets that each of `count` observers of an exact lookup takes."""
        before = self.server.rss()
        ask = self.lookup(self.server.endpoints, "ep=node%d")
        expect(self.run(*ask, "-e", "-A", "-s", "-r", count, "-n", count, "-c", SOURCES, "-w", 1), "2.05")
        return (self.server.rss() - before) / count

    def burst(self, *ask: str | int | float | Path) -> Measures:
        """The worst of the runs."""
        runs = [self.run(*ask, "-r", max(1, self.size), "-B", BURST) for _ in range(self.plan.repetitions)]
        return max(runs, key=lambda measures: int(measures["lost"]))

    def middle(self, code: str, *ask: str | int | float | Path) -> Measures:
        """The run in the middle by CPU time; the slow peer gets one."""
        return middle([expect(self.run(*ask), code) for _ in range(1 if self.slow else self.plan.repetitions)])


def middle(runs: list[Measures]) -> Measures:
    return sorted(runs, key=lambda measures: float(measures["server_us"]))[len(runs) // 2]


def segments(path: tuple[str, ...]) -> list[str]:
    return [word for segment in path for word in ("-P", segment)]


def expect(measures: Measures, code: str) -> Measures:
    """A figure counts only if everything asked was answered, whole and as it should be."""
    if set(measures["codes"]) != {code} or measures["lost"] or measures["truncated"]:
        measures["remark"] = f"{measures['codes']}, {measures['lost']} lost, {measures['truncated']} truncated"
    return measures


def measure_waypost(program: Path, plan: Plan, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"sizes": {size: measure_size(program, plan, folder, size) for size in plan.sizes}}
    found["burst"] = found["sizes"][plan.sizes[-1]].pop("burst")
    with state_directory() as directory, waypost(directory) as server:
        bench = Bench(program, server, plan, folder)
        size = plan.sizes[1]
        tell(f"waypost: {size:,} registrations that share no link")
        found["nothing shared"] = {"size": size, **bench.fill(size, NO_LINK_SHARED)}
    found["busy"] = measure_busy(program, plan, folder, size)
    return found


def measure_busy(program: Path, plan: Plan, folder: Path, size: int) -> dict[str, Any]:
    """Lookups beside changes, then registrations beside observers."""
    with state_directory() as directory, waypost(directory) as server:
        bench = Bench(program, server, plan, folder)
        bench.fill(size)
        tell(f"waypost: lookups and changes together at {size:,} registrations")
        runs = [bench.together(run) for run in range(plan.repetitions)]
        together = sorted(runs, key=lambda run: int(run["lookups"]["p99_us"]))[len(runs) // 2]
        tell(f"waypost: {size:,} idle observers")
        before = middle([bench.register(plan.news) for _ in range(plan.repetitions)])
        octets = bench.observe(size)
        after = middle([bench.register(plan.news) for _ in range(plan.repetitions)])
        found = {"deep page": bench.deep_page()}
        return found | {"together": together, "observers": size, "octets": octets, "before": before, "after": after}


def measure_million(program: Path, plan: Plan, folder: Path) -> dict[str, Any]:
    with state_directory() as directory:
        tell(f"waypost: a start with {plan.many:,} registrations")
        store_fleets(directory, plan.many, [LINKS % firmware for firmware in range(FIRMWARES)])
        with waypost(directory) as server:
            found = {"size": plan.many, "start_s": server.start_s, "octets": server.rss()}
            bench = Bench(program, server, plan, folder)
            bench.size = plan.many
            ask, code = bench.operations()[EXACT]
            return {**found, "lookup": bench.middle(code, *ask, *bench.length(EXACT))}


def measure_size(program: Path, plan: Plan, folder: Path, size: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tell(f"waypost: {size:,} registrations")
    with state_directory() as directory:
        with waypost(directory) as server:
            bench = Bench(program, server, plan, folder)
            found |= bench.fill(size)
            found["measures"] = bench.measure()
            found["alone"] = bench.alone()
            found["measures"][NEW] = middle([bench.register(plan.news) for _ in range(plan.repetitions)])
            if size == plan.sizes[-1]:
                tell(f"waypost: {BURST} datagrams at once")
                found["burst"] = {
                    "lookups": bench.burst(*bench.lookup(server.endpoints, "ep=node%d")),
                    "registrations": bench.burst(*bench.registration()),
                }
        with waypost(directory) as again:
            found["start_s"] = again.start_s
    return found


def measure_aiocoap(program: Path, plan: Plan, folder: Path) -> dict[str, Any] | None:
    found: dict[str, Any] = {"sizes": {}}
    for size in plan.peer_sizes:
        with aiocoap_rd() as server:
            if server is None:
                return None
            tell(f"aiocoap-rd: {size:,} registrations")
            bench = Bench(program, server, plan, folder)
            part = found["sizes"][size] = bench.fill(size)
            part["measures"] = bench.measure()
            part["measures"][NEW] = bench.register(plan.slow)
    return found


def measure_libcoap(program: Path, plan: Plan, folder: Path) -> dict[str, Any] | None:
    with libcoap() as server:
        if server is None:
            return None
        tell("libcoap: GET /time")
        bench = Bench(program, server, plan, folder)
        with state_directory() as directory, waypost(directory) as ours:
            beside = Bench(program, ours, plan, folder)
            beside.fill(plan.sizes[1])
            ask, code = beside.operations()[EXACT]
            pairs = [
                (
                    expect(bench.run("-P", "time", "-d", plan.seconds), "2.05"),
                    beside.middle(code, *ask, *beside.length("")),
                    beside.middle(code, *ask, "-u", *beside.length("")),
                )
                for _ in range(plan.repetitions)
            ]
        times, lookups, unlike = (middle(list(runs)) for runs in zip(*pairs, strict=True))
        return {"GET /time": times, "beside": lookups, "unlike": unlike, "burst": bench.burst("-P", "time")}


def tell(sentence: str) -> None:
    print(sentence, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench rd", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few registrations, a few seconds: does the bench work?")
    parser.add_argument("--long", action="store_true", help="with a million registrations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page of the documentation")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    program = build()
    with state_directory() as folder:
        report: Report = {
            "machine": machine(folder),
            "waypost": measure_waypost(program, plan, folder),
            "aiocoap-rd": measure_aiocoap(program, plan, folder),
            "libcoap": measure_libcoap(program, plan, folder),
            "million": measure_million(program, plan, folder) if options.long else None,
        }
    text = page(report)
    print("\n" + text)
    if options.quick:
        tell("A quick run shows that the bench works; its figures mean nothing.")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.write:
        options.write.write_text(text)
        options.write.with_suffix(".svg").write_text(plot(series_of(report, EXACT, RENEW, NEW)))


if __name__ == "__main__":
    main()
