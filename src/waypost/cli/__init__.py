"""The command `waypost`: one verb, one question; what a verb needs is imported when it runs.

Read `verbs.py` (the table of verbs), `ending.py` (errors become exit codes), `output.py` (table, json,
jsonl), then a file for each group of verbs: directory, node, config, completion, run, demo.
"""


def main() -> None:
    """The program's start; `python -m waypost` is the same."""
    import os
    import sys

    from waypost.cli.verbs import COMPLETION, call, complete

    for stream in (sys.stdout, sys.stderr):
        # JSON is UTF-8 wherever it goes (RFC 8259, 8.1); what is no text is shown escaped.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    instruction = os.environ.get(COMPLETION)
    sys.exit(complete(instruction) if instruction else call(sys.argv[1:]))
