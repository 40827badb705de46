"""How large a machine is: presets, memory as text, and what Fly makes."""

import re

import msgspec

from mcpctld.errors import UserError

DEFAULT_MEMORY_MB = 1024
"""As `fly mcp launch` has it: `npx` alone wants 512 MB or more, and the smallest preset has 256."""

SUSPEND_LIMIT_MB = 2048
"""A machine with more cannot be suspended: Fly's proxy stops it instead."""

_PER_CPU = {"shared": (256, 2048), "performance": (2048, 8192)}
"""Megabytes for each CPU: of a preset, and at most."""
_STEP = {"shared": 256, "performance": 1024}
_CPUS = {"shared": (1, 2, 4, 6, 8), "performance": (1, 2, 4, 6, 8, 10, 12, 14, 16)}

PRESETS = {
    (f"{kind}-cpu-{count}x" if kind == "shared" else f"{kind}-{count}x"): (kind, count)
    for kind, counts in _CPUS.items()
    for count in counts
}
"""The names that `--vm-size` knows: each is a kind of CPU and how many of them."""


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a machine."""

    cpu_kind: str = "shared"
    cpus: int = 1
    memory_mb: int = DEFAULT_MEMORY_MB
    host_dedication_id: str | None = None

    def as_config(self) -> dict[str, object]:
        """As `config.guest` has it."""
        body = msgspec.to_builtins(self)
        return {key: value for key, value in body.items() if value is not None}


def guest(
    size: str | None = None,
    cpus: int | None = None,
    kind: str | None = None,
    memory: str | None = None,
    host: str | None = None,
) -> Guest:
    """The machine that the flags ask for. Raises `UserError` for one that Fly does not make.

    Memory that is not said is that of the preset, else of the CPUs, and 1 GB when nothing is said.
    """
    preset_kind, preset_cpus = _preset(size)
    chosen = kind or preset_kind
    if chosen not in _CPUS:
        raise UserError(
            f"there is no kind of CPU {chosen!r}: --vm-cpu-kind is shared or performance"
        )
    count = cpus if cpus is not None else preset_cpus
    if count not in _CPUS[chosen]:
        counts = ", ".join(map(str, _CPUS[chosen]))
        raise UserError(
            f"a machine cannot have {count} CPUs of kind {chosen}: --vm-cpus is one of {counts}"
        )
    is_said = size or cpus is not None or kind
    usual = _PER_CPU[chosen][0] * count if is_said else DEFAULT_MEMORY_MB
    megabytes = usual if memory is None else memory_mb(memory)
    _check_memory(chosen, count, megabytes)
    return Guest(cpu_kind=chosen, cpus=count, memory_mb=megabytes, host_dedication_id=host)


def memory_mb(text: str) -> int:
    """Megabytes of `512`, `512mb`, `1gb` or `1.5 GiB`. Raises `UserError`."""
    found = re.fullmatch(
        r"([0-9]{1,9}(?:\.[0-9]{1,3})?) *(?:([mg])(?:i?b)?)?", text.strip(), re.IGNORECASE
    )
    if found is None:
        raise UserError(f"cannot read {text!r} as memory: write 512, 512mb or 1gb")
    size = float(found[1]) * (1024 if (found[2] or "m") in "gG" else 1)
    if size != int(size):
        raise UserError(f"cannot give a machine {text} of memory: it must be whole megabytes")
    return int(size)


def _preset(size: str | None) -> tuple[str, int]:
    if size is None:
        return "shared", 1
    if size not in PRESETS:
        gone = " (Fly no longer offers GPUs)" if re.match(r"(a10|a100|l40s|gpu)", size) else ""
        raise UserError(
            f"there is no size {size!r}{gone}: --vm-size is one of {', '.join(PRESETS)}"
        )
    return PRESETS[size]


def _check_memory(kind: str, cpus: int, megabytes: int) -> None:
    least, most = _PER_CPU[kind][0] * cpus, _PER_CPU[kind][1] * cpus
    if not least <= megabytes <= most or megabytes % _STEP[kind]:
        raise UserError(
            f"a machine with {cpus} {kind} CPU{'s' * (cpus > 1)} cannot have {megabytes} MB of memory: "
            f"--vm-memory is {least} to {most}, in steps of {_STEP[kind]}"
        )
