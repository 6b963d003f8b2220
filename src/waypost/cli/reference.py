"""The page docs/configuration.md, written from the table of settings."""

from msgspec import Struct, structs

from waypost.config.settling import FILE_NAME, KEYS, SECTIONS, Key


def page() -> str:
    lines = [
        "# Configuration",
        "",
        "<!-- Written by `waypost config reference`; a test keeps it current. -->",
        "",
        f"A node reads `{FILE_NAME}` in its state directory, or the file that `--config` or `WAYPOST_CONFIG` names;",
        "then the environment; then flags.  The later wins.  A key that does not exist is an error.",
        "In the environment commas separate the items of a list; a flag is repeated.",
        "`waypost config show` tells what is set, and by what.",
    ]
    for section, struct in SECTIONS.items():
        lines += ["", f"## `[{section}]`" if section else "## At the top", "", struct.__doc__ or "", ""]
        lines += ["| key | environment | flag | value | default | |", "| --- | --- | --- | --- | --- | --- |"]
        for key in KEYS.values():
            if key.section == section:
                cells = (f"`{key.name}`", f"`{key.environment}`", f"`{key.flag}`", key.expected, f"`{shown(key)}`")
                lines.append("| " + " | ".join((*cells, key.description)) + " |")
    return "\n".join(lines) + "\n"


def shown(key: Key) -> str:
    """The default as it would stand in the file."""
    return key.stated or in_toml(key.default)


def in_toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(in_toml, value)) + "]"
    if isinstance(value, Struct):
        return "{ " + ", ".join(f"{name} = {in_toml(item)}" for name, item in structs.asdict(value).items()) + " }"
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
