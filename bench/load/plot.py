"""The figures of a report as a picture: requests that one core answers in a second, by registrations held."""

from math import ceil, floor, log10
from typing import Any

WIDTH, HEIGHT = 775, 440
LEFT, RIGHT, TOP, BOTTOM = 88, 265, 62, 52

Points = list[tuple[float, float]]  # registrations, microseconds of CPU for each request

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #333 } .axis { stroke: #888 } .grid { stroke: #8884 }
.a { stroke: #1868b8; fill: #1868b8 } .b { stroke: #c05a00; fill: #c05a00 } .c { stroke: #6a3d9a; fill: #6a3d9a }
polyline { fill: none !important; stroke-width: 2.5 } .thin { stroke-width: 1.5; stroke-dasharray: 6 4 }
text.a, text.b, text.c { stroke: none } circle { stroke: none }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .axis { stroke: #999 }
.a { stroke: #6cb4ff; fill: #6cb4ff } .b { stroke: #ffa552; fill: #ffa552 } .c { stroke: #c9a6f5; fill: #c9a6f5 } }
"""


def plot(series: dict[str, tuple[str, Points]]) -> str:
    """An SVG; `series` is label -> (class, points), drawn where a core's rate is 10^6 by the microseconds."""
    points = [point for _, line in series.values() for point in line]
    low = floor(log10(min(1e6 / us for _, us in points)))
    high = ceil(log10(max(1e6 / us for _, us in points)))
    first = floor(log10(min(size for size, _ in points)))
    last = ceil(log10(max(size for size, _ in points)))

    def x(size: float) -> float:
        return LEFT + (log10(size) - first) / max(1, last - first) * (WIDTH - LEFT - RIGHT)

    def y(rate: float) -> float:
        return HEIGHT - BOTTOM - (log10(rate) - low) / max(1, high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [text(LEFT, 22, "Requests that one core answers in a second, and CPU time for each", weight="bold")]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(line("grid", LEFT, at, WIDTH - RIGHT, at))
        parts.append(text(LEFT - 8, at + 4, f"{10.0**power:,.10g}", anchor="end"))
        parts.append(text(WIDTH - RIGHT + 8, at + 4, time_of(1e6 / 10.0**power)))
    under = HEIGHT - BOTTOM + 20
    parts += [text(x(10.0**power), under, f"{10**power:,}", anchor="middle") for power in range(first, last + 1)]
    parts.append(text(LEFT - 8, TOP - 16, "requests/s", anchor="end"))
    parts.append(text(WIDTH - RIGHT + 8, TOP - 16, "CPU each"))
    parts.append(line("axis", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM))
    parts.append(line("axis", LEFT, TOP, LEFT, HEIGHT - BOTTOM))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "registrations held", anchor="middle"))
    labels = apart({name: y(1e6 / line[-1][1]) for name, (_, line) in series.items()})
    for name, (kind, found) in series.items():
        thin = " thin" if "GET" in name else ""
        path = " ".join(f"{x(size):.0f},{y(1e6 / us):.0f}" for size, us in found)
        parts.append(f'<polyline class="{kind}{thin}" points="{path}"/>')
        parts += [f'<circle class="{kind}" cx="{x(s):.0f}" cy="{y(1e6 / us):.0f}" r="3.5"/>' for s, us in found]
        parts.append(text(WIDTH - RIGHT + 68, labels[name] + 4, name, kind=kind))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "", weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" {style}>{words}</text>'


def line(kind: str, *ends: float) -> str:
    x1, y1, x2, y2 = ends
    return f'<line class="{kind}" x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/>'


def time_of(us: float) -> str:
    return f"{us:,.3g} us" if us < 1e3 else f"{us / 1e3:,.3g} ms" if us < 1e6 else f"{us / 1e6:,.3g} s"


def apart(places: dict[str, float]) -> dict[str, float]:
    """Moved down where they would lie upon each other."""
    moved: dict[str, float] = {}
    floor_y = float("-inf")
    for name in sorted(places, key=places.__getitem__):
        floor_y = moved[name] = max(places[name], floor_y + 16)
    return moved


def series_of(report: dict[str, Any], lookup: str, renew: str, new: str) -> dict[str, tuple[str, Points]]:
    """What the page shows: ours in one colour, each peer's in another."""
    series: dict[str, tuple[str, Points]] = {}
    for server, kind in (("waypost", "a"), ("aiocoap-rd", "b")):
        sizes = (report[server] or {"sizes": {}})["sizes"]
        for name, label in ((lookup, "exact lookup"), (renew, "renewal"), (new, "new registration")):
            points = [(float(s), max(0.1, part["measures"][name]["server_us"])) for s, part in sorted(sizes.items())]
            million = report.get("million") if server == "waypost" and name == lookup else None
            if million:
                points.append((float(million["size"]), million["lookup"]["server_us"]))
            if points:
                series[f"{server}, {label}"] = (kind, points)
    if report["libcoap"]:
        ends = [size for _, found in series.values() for size, _ in found]
        us = report["libcoap"]["GET /time"]["server_us"]
        series["libcoap, GET /time"] = ("c", [(min(ends), us), (max(ends), us)])
    return series
