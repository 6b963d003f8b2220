"""What was measured, as a page of the documentation and as text."""

import os
import platform
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

import msgspec

from load.servers import LOOP
from waypost.runtime.loop import Wanted, kind_of, maker

Report = dict[str, Any]

WIDTH = 118
EXACT = "endpoint lookup, ep"
BOTH = "resource lookup, ep and rt"
UNLIKE = ", no two alike"  # of requests that differ from each other in more than the value sought
NEW = "register, new"
RENEW = "renew"
LOOKUP_CPU_US = 40.0
LOOKUP_GROWTH = 1.5
TIMES_AIOCOAP = 1_000.0
REGISTRATION_OCTETS = 3 * 1024.0
OF_LIBCOAP = 0.6
TWO_CRITERIA = 2.0
NEW_TIMES_AIOCOAP = 20.0
P99_MS, WORST_MS = 5.0, 20.0
BESIDE_OBSERVERS = 2.0
MILLION_GIB, MILLION_S = 1.5, 15.0


def machine(folder: Path) -> dict[str, Any]:
    """Named with every figure; `fdatasync_ms` is what the disk under the store needs at least."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_version()} on {loop()}",
        "sqlite": sqlite3.sqlite_version,
        "load": round(os.getloadavg()[0], 1),
        "fdatasync_ms": round(fdatasync_ms(folder), 2),
    }


def loop() -> str:
    """The event loop that our nodes run on, as the environment says."""
    made = maker(msgspec.convert(os.environ.get(LOOP, "auto"), Wanted))()
    made.close()
    return kind_of(made)


def fdatasync_ms(folder: Path) -> float:
    times = []
    with (folder / "sync").open("wb") as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(1000 * (time.perf_counter() - started))
    return median(times)


def targets(report: Report) -> list[tuple[str, str, bool]]:
    """(what must hold, what was measured, whether it holds)."""
    ours = report["waypost"]
    *_, middle, largest = sorted(ours["sizes"])
    cpu = {size: ours["sizes"][size]["measures"][EXACT]["server_us"] for size in (middle, largest)}
    octets = max(ours["sizes"][size]["octets"] for size in (middle, largest))
    rows = [
        (f"exact lookup at {size:,}: at most {LOOKUP_CPU_US:.0f} us of CPU", f"{us:.1f} us", us <= LOOKUP_CPU_US)
        for size, us in cpu.items()
    ]
    for name in (EXACT, EXACT + UNLIKE):
        small, large = (ours["sizes"][size]["measures"][name]["server_us"] for size in (middle, largest))
        growth = large / max(small, 1e-9)
        asked = f"{'exact lookup' if name == EXACT else 'the same' + UNLIKE}, from {middle:,} to {largest:,}"
        rows.append((f"{asked}: a ratio below {LOOKUP_GROWTH}", f"{growth:.2f}", growth < LOOKUP_GROWTH))
    if report["million"] and cpu[largest]:
        growth = report["million"]["lookup"]["server_us"] / cpu[largest]
        asked = f"from {largest:,} to {report['million']['size']:,}: a ratio below {LOOKUP_GROWTH}"
        rows.append((asked, f"{growth:.2f}", growth < LOOKUP_GROWTH))
    if report["aiocoap-rd"]:
        size = max(report["aiocoap-rd"]["sizes"])
        times = rate(ours["sizes"][size], EXACT) / rate(report["aiocoap-rd"]["sizes"][size], EXACT)
        asked = f"exact lookup at {size:,}: at least {TIMES_AIOCOAP:,.0f} times aiocoap-rd's rate"
        rows.append((asked, f"{times:,.0f}", times >= TIMES_AIOCOAP))
    asked = f"one distinct registration of 5 links, from {middle:,} on: at most {REGISTRATION_OCTETS:,.0f} octets"
    rows.append((asked, f"{octets:,.0f}", octets <= REGISTRATION_OCTETS))
    return rows + further(report, middle, largest)


def further(report: Report, middle: int, largest: int) -> list[tuple[str, str, bool]]:
    ours, rows = report["waypost"], []
    apart = ours["nothing shared"]["octets"]
    rows.append(
        (f"the same where no link is shared: at most {REGISTRATION_OCTETS:,.0f} octets", f"{apart:,.0f}", apart <= 3072)
    )
    cpu = {name: found["server_us"] for name, found in ours["sizes"][largest]["measures"].items()}
    times = cpu[BOTH + UNLIKE] / max(cpu[EXACT + UNLIKE], 1e-9)
    asked = f"two criteria, of which all have one, at {largest:,}{UNLIKE}: at most {TWO_CRITERIA:.0f} times one"
    rows.append((asked, f"{times:.2f}", times <= TWO_CRITERIA))
    if report["aiocoap-rd"]:
        size = max(report["aiocoap-rd"]["sizes"])
        times = rate(ours["sizes"][size], NEW) / rate(report["aiocoap-rd"]["sizes"][size], NEW)
        asked = f"new registrations at {size:,}: at least {NEW_TIMES_AIOCOAP:.0f} times aiocoap-rd's rate"
        rows.append((asked, f"{times:.0f}", times >= NEW_TIMES_AIOCOAP))
    if report["libcoap"]:
        theirs, own = report["libcoap"]["GET /time"]["server_us"], report["libcoap"]["beside"]["server_us"]
        times = theirs / max(own, 1e-9)
        asked = f"exact lookups at {middle:,} on a core: at least {OF_LIBCOAP} of libcoap's GET"
        rows.append((asked, f"{times:.2f}", times >= OF_LIBCOAP))
    busy = ours["busy"]
    p99, worst = (busy["together"]["lookups"][name] / 1000 for name in ("p99_us", "max_us"))
    asked = f"20,000 lookups and 1,000 changes a second: p99 at most {P99_MS:.0f} ms, worst {WORST_MS:.0f} ms"
    rows.append((asked, f"{p99:.1f} ms, {worst:.1f} ms", p99 <= P99_MS and worst <= WORST_MS))
    times = busy["after"]["server_us"] / max(busy["before"]["server_us"], 1e-9)
    asked = f"a registration beside {busy['observers']:,} idle observers: at most {BESIDE_OBSERVERS:.0f} times its CPU"
    rows.append((asked, f"{times:.2f}", times <= BESIDE_OBSERVERS))
    if report["million"]:
        gib, start_s = report["million"]["octets"] / 2**30, report["million"]["start_s"]
        asked = f"{report['million']['size']:,} registrations: at most {MILLION_GIB} GiB, started in {MILLION_S:.0f} s"
        rows.append((asked, f"{gib:.2f} GiB, {start_s:.1f} s", gib <= MILLION_GIB and start_s <= MILLION_S))
    lost = {name: measures["lost"] for name, measures in ours["burst"].items()}
    shown = ", ".join(f"{count} of {name}" for name, count in lost.items())
    rows.append(("1,024 datagrams at once: none lost", shown, not any(lost.values())))
    return rows


def page(report: Report) -> str:
    blocks = [
        "# Performance",
        "<!-- Written by `./dev bench rd --write docs/performance.md`. -->",
        fill(WHERE.format(**report["machine"]), WIDTH, break_on_hyphens=False),
        HOW,
        "## How many requests can one directory deal with?",
        "![Requests that one core answers in a second, by registrations held](performance.svg)",
        fill(REPEATED, WIDTH),
        "## What must hold",
        table(["", "measured", ""], [[a, b, "holds" if ok else "**fell short**"] for a, b, ok in targets(report)]),
        "## Waypost",
        "CPU of the server for each request, and requests in a second, all sockets busy.",
        operations(report["waypost"]),
        *memory(report["waypost"]),
        *busy(report["waypost"]["busy"], report["million"]),
    ]
    if report["aiocoap-rd"]:
        blocks += ["## aiocoap-rd", AIOCOAP, operations(report["aiocoap-rd"]), "## Side by side", *ratios(report)]
    if report["libcoap"]:
        blocks += ["## libcoap", *ceiling(report["libcoap"])]
    remarks = all_remarks(report)
    if remarks:
        blocks += ["## Remarks", "\n".join(f"- {remark}" for remark in remarks)]
    return "\n\n".join(blocks) + "\n"


WHERE = """\
Measured on {date} on {cores} cores of {cpu}, {memory_gib} GiB, {kernel}, Python {python}, SQLite {sqlite}; the disk
under the store needs {fdatasync_ms} ms for an fdatasync.  Other work kept {load} processes of the machine busy at the
start.  `./dev bench rd` measures again."""

HOW = """\
The node runs as `waypost run` with its real store at full durability; only the quota of one source is lifted, since
all load comes from one.  Every registration has five links and a document of its own, of which one link is unlike all
others.  The load is `bench/coapload.c` over UDP on loopback: 64 sockets with 4 requests under way each, every source
validated (RFC 9175) before anything is counted, every answer counted only if it is whole.  Figures are the middle of
three runs.  CPU time is that of the server process with all its threads; rates depend on what else the machine does,
CPU time hardly."""

REPEATED = """\
A lookup of one value that one registration has is searched each time, from the first on; only its request is not
read again where no more than the value differs from an earlier one.  Other lookups asked again are answered from
memory until something changes that they list, for some 16,000 different ones: at 1,000 and 10,000 registrations that
is most of the load, at 100,000 hardly any.  Where no two are alike, each request has an option of its own that means
nothing: it is read whole, and answered without any memory.  The node uses one core, and the writer's thread a part of
another."""

AIOCOAP = """\
The same load with fewer requests under way.  Where a lookup has several criteria it applies only the last
one, so two of the rows answer another question there."""


def operations(found: Report) -> str:
    sizes = sorted(found["sizes"])
    names = [NEW, *(name for name in found["sizes"][sizes[0]]["measures"] if name != NEW)]
    head = ["", *(f"{size:,} registrations" for size in sizes)]
    return table(head, [[name, *(cell(found["sizes"][size]["measures"][name]) for size in sizes)] for name in names])


def memory(found: Report) -> list[str]:
    rows = []
    for size, part in sorted(found["sizes"].items()):
        filled, alone = part["fill"], part["alone"]
        waits = f"{alone['p50_us']:,} / {alone['p99_us']:,} us"
        busy = part["measures"][EXACT]
        rows.append(
            [
                f"{size:,}",
                f"{filled['wall_s']:.1f} s, {filled['server_us']:.0f} us each",
                f"{part['octets']:,.0f}",
                waits,
                f"{busy['p50_us']:,} / {busy['p99_us']:,} us",
                f"{part['start_s']:.1f} s",
            ]
        )
    apart = found["nothing shared"]
    return [
        table(
            ["registrations", "filling", "octets each", "lookup alone, p50 / p99", "all sockets busy", "start"], rows
        ),
        fill(
            "Memory is the growth of the process's resident set while it was filled, with what is taken once, such as "
            "SQLite's cache: that weighs with few.  A start reads all back from the disk before it is ready.  Where no "
            f"link is shared with another registration, {apart['size']:,} of them take {apart['octets']:,.0f} octets "
            f"and {apart['fill']['server_us']:.0f} us each.",
            WIDTH,
        ),
    ]


def busy(found: Report, million: Report | None) -> list[str]:
    lookups, changes = found["together"]["lookups"], found["together"]["changes"]
    before, after = found["before"]["server_us"], found["after"]["server_us"]
    sentences = (
        f"With {lookups['rate']:,.0f} lookups and {changes['rate']:,.0f} changed registrations a second together, a "
        f"lookup waits {waits(lookups)}, a change {waits(changes)}, the generator's own turns among them.  An observer "
        f"of an exact lookup takes {found['octets']:,.0f} octets; a new registration takes {before:.0f} us of CPU "
        f"without observers and {after:.0f} us beside {found['observers']:,} of others.  One of the first hundred "
        f"pages of ten links that all have takes {found['deep page']['server_us']:.0f} us."
    )
    if million:
        sentences += (
            f"  {million['size']:,} registrations of 50 firmwares start in {million['start_s']:.1f} s and then have "
            f"{million['octets'] / 2**30:.2f} GiB; an exact lookup there takes {million['lookup']['server_us']:.1f} us."
        )
    return ["## Under changes and observers", fill(sentences, WIDTH)]


def waits(found: Report) -> str:
    p50, p99, worst = (found[name] / 1000 for name in ("p50_us", "p99_us", "max_us"))
    return f"{p50:.1f} ms (p99 {p99:.1f}, worst {worst:.1f})"


def ratios(report: Report) -> list[str]:
    ours, theirs = report["waypost"]["sizes"], report["aiocoap-rd"]["sizes"]
    sizes = [size for size in sorted(theirs) if size in ours]
    rows = [
        [name, *(f"{rate(ours[size], name) / rate(theirs[size], name):,.0f}" for size in sizes)]
        for name in ours[sizes[0]]["measures"]
        if name in theirs[sizes[0]]["measures"]
    ]
    rows.append(
        ["octets of memory, theirs to ours", *(f"{theirs[s]['octets'] / ours[s]['octets']:.1f}" for s in sizes)]
    )
    return ["Our requests in a second for each of aiocoap-rd's.", table(["", *(f"{size:,}" for size in sizes)], rows)]


def ceiling(found: Report) -> list[str]:
    burst, theirs = found["burst"], found["GET /time"]["server_us"]
    shares = [theirs / max(found[name]["server_us"], 1e-9) for name in ("beside", "unlike")]
    return [
        fill(
            f"Its example server has no directory; a GET of `/time` is what a small answer costs in C: "
            f"{cell(found['GET /time'])}.  An exact lookup reached {shares[0]:.2f} of that on a core in the same "
            f"minutes, and {shares[1]:.2f} where no two were alike.  Of {burst['sent']:,} datagrams at once it lost "
            f"{burst['lost']:,}.",
            WIDTH,
        )
    ]


def all_remarks(report: Report) -> list[str]:
    remarks = []
    for server in ("waypost", "aiocoap-rd"):
        for size, part in ((report[server] or {}).get("sizes") or {}).items():
            for name, measures in {"filling": part["fill"], **part["measures"]}.items():
                if "remark" in measures:
                    remarks.append(f"{server}, {size:,}, {name}: {measures['remark']}")
    return remarks


def rate(part: Report, name: str) -> float:
    """Requests a second; never 0, it is divided by."""
    return max(float(part["measures"][name]["rate"]), 1e-9)


def cell(measures: Report) -> str:
    us, each = measures["server_us"], measures["rate"]
    cpu = f"{us:.1f} us" if us < 1_000 else f"{us / 1_000:,.1f} ms"
    return f"{cpu}, {each:,.0f}/s" if each >= 10 else f"{cpu}, {each:.1f}/s"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, its columns aligned so that it reads as text too."""
    cells = [head, *rows]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(head))]
    lines = [" | ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)
