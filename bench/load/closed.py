"""A closed loop: so many clients, each with one request under way, and what the servers took for it."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")

Job = Callable[[], Awaitable[None]]  # one request, answered as it should be; raises otherwise
Counted = Callable[[], Awaitable[int]]  # requests that servers made to each other, so far


@dataclass(frozen=True)
class Measured:
    """`server_us` is the CPU time of all servers together for each answer, `client_us` that of the bench.

    `between` is how many requests the servers made to each other for each answer; 0 if nobody counted.
    """

    count: int
    per_second: float
    p50_ms: float
    p99_ms: float
    server_us: float
    client_us: float
    between: float

    def figures(self) -> dict[str, Any]:
        return asdict(self)


async def closed_loop(
    jobs: Sequence[Job], seconds: float, pids: Sequence[int], warm_s: float = 0.0, counted: Counted | None = None
) -> Measured:
    """Each job again and again, all at once; what is answered after `warm_s`, within `seconds`, counts."""
    begin = time.perf_counter() + warm_s
    end = begin + seconds
    times: list[float] = []

    async def repeat(job: Job) -> None:
        started = time.perf_counter()
        while started < end:
            await job()
            finished = time.perf_counter()
            if begin <= finished <= end:
                times.append(finished - started)
            started = finished

    async def watch() -> tuple[float, float, int]:
        """CPU seconds of the servers, and of the bench, from the beginning to the end, and what was counted."""
        await asyncio.sleep(warm_s)
        count = await counted() if counted else 0
        before, own = cpu_s(pids), time.process_time()
        await asyncio.sleep(max(0.0, end - time.perf_counter()))
        cpu = cpu_s(pids) - before, time.process_time() - own
        return *cpu, (await counted() if counted else 0) - count

    async with asyncio.TaskGroup() as group:
        watched = group.create_task(watch())
        for job in jobs:
            group.create_task(repeat(job))
    servers, own, between = watched.result()
    count = max(1, len(times))
    return Measured(
        len(times),
        len(times) / seconds,
        1000 * share(times, 0.5),
        1000 * share(times, 0.99),
        1e6 * servers / count,
        1e6 * own / count,
        between / count,
    )


def share(times: Sequence[float], part: float) -> float:
    """The time within which `part` of them were; 0 of none."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def middle(runs: Sequence[Measured]) -> Measured:
    """Of an odd number of runs, that of the median rate."""
    return sorted(runs, key=lambda run: run.per_second)[len(runs) // 2]


def cpu_s(pids: Sequence[int]) -> float:
    """What the processes have used, with all their threads."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return TICK_S * sum(int(each[11]) + int(each[12]) for each in fields)
