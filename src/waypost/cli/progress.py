"""A bar on standard error for what takes long, where somebody looks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(text: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Call what it gives with how many more are done; `total` None: nobody knows."""
    if not sys.stderr.isatty():
        yield lambda number: None
        return
    # Here and not above: a verb that shows no bar should not wait for it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(text, total=total)
        yield lambda number: shown.advance(task, number)
