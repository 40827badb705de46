"""A volume as `--volume NAME:/PATH[:KEY=VALUE,...]` says it, every option of it kept."""

import posixpath
import re

import msgspec

from mcpctld.errors import UserError
from mcpctld.launch.sizes import Guest

MAX_SIZE_GB = 500

_KEYS = (
    "initial_size", "snapshot_retention", "scheduled_snapshots",
    "auto_extend_size_threshold", "auto_extend_size_increment", "auto_extend_size_limit",
)  # fmt: skip
_EXTENDING = _KEYS[3:]


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume to be made, and where the machine sees it. Sizes are in GB."""

    name: str
    path: str
    size_gb: int = 1
    snapshot_retention: int | None = None
    """In days."""
    auto_backup_enabled: bool | None = None
    extend_threshold_percent: int | None = None
    """It grows when it is so full. This and the two below go together."""
    add_size_gb: int | None = None
    size_gb_limit: int | None = None

    def create_body(self, region: str, guest: Guest) -> dict[str, object]:
        """The body of `POST /v1/apps/{app}/volumes`; the size of the machine tells which hosts will do."""
        body = {
            "name": self.name,
            "region": region,
            "size_gb": self.size_gb,
            "encrypted": True,
            "compute": guest.as_config(),
            "snapshot_retention": self.snapshot_retention,
            "auto_backup_enabled": self.auto_backup_enabled,
        }
        return {key: value for key, value in body.items() if value is not None}

    def mount(self, volume_id: str) -> dict[str, object]:
        """The entry of `config.mounts`."""
        body = {
            "volume": volume_id,
            "name": self.name,
            "path": self.path,
            "extend_threshold_percent": self.extend_threshold_percent,
            "add_size_gb": self.add_size_gb,
            "size_gb_limit": self.size_gb_limit,
        }
        return {key: value for key, value in body.items() if value is not None}


def parse(text: str) -> Volume:
    """The volume that `text` describes. Raises `UserError`."""
    name, _, rest = text.partition(":")
    path, _, options = rest.partition(":")
    if not re.fullmatch(r"[a-z0-9_]{1,30}", name):
        raise UserError(
            f"cannot use {name!r} as the name of a volume: 1 to 30 lower-case letters, digits and underscores"
        )
    given = _options(text, options)
    return Volume(
        name=name,
        path=_mount_path(name, path),
        size_gb=_size(given, "initial_size", 1),
        snapshot_retention=_days(given.get("snapshot_retention")),
        auto_backup_enabled=_switch(given.get("scheduled_snapshots")),
        **_extending(given),
    )


def _mount_path(name: str, path: str) -> str:
    if not path.startswith("/") or posixpath.normpath(path) in ("/", "//"):
        raise UserError(f"volume {name} needs a folder in the machine: --volume {name}:/data")
    return posixpath.normpath(path)


def _options(text: str, options: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for option in filter(None, options.split(",")):
        key, equals, value = (part.strip() for part in option.partition("="))
        if key not in _KEYS or not equals:
            raise UserError(
                f"cannot read option {option!r} of volume {text!r}: known are {', '.join(_KEYS)}"
            )
        if key in given:
            raise UserError(f"option {key} of volume {text!r} is given twice")
        given[key] = value
    return given


def _size(given: dict[str, str], key: str, default: int, most: int = MAX_SIZE_GB) -> int:
    """Whole gigabytes of `1`, `1GB` or `10 gb`."""
    if key not in given:
        return default
    found = re.fullmatch(r"([0-9]{1,6}) *(?:gi?b?)?", given[key], re.IGNORECASE)
    if found is None or not 1 <= int(found[1]) <= most:
        raise UserError(f"cannot use {given[key]!r} as {key} of a volume: 1GB to {most}GB")
    return int(found[1])


def _days(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= 60:
        raise UserError(f"cannot use {text!r} as snapshot_retention of a volume: 1 to 60 days")
    return int(text)


def _switch(text: str | None) -> bool | None:
    if text is None:
        return None
    if text.lower() not in ("true", "false"):
        raise UserError(f"cannot use {text!r} as scheduled_snapshots of a volume: true or false")
    return text.lower() == "true"


def _extending(given: dict[str, str]) -> dict[str, int]:
    missing = [key for key in _EXTENDING if key not in given]
    if len(missing) == len(_EXTENDING):
        return {}
    if missing:
        raise UserError(
            f"a volume that grows needs all three of {', '.join(_EXTENDING)}: {missing[0]} is missing"
        )
    threshold = given["auto_extend_size_threshold"]
    if not re.fullmatch(r"[0-9]{2}", threshold) or int(threshold) < 50:
        raise UserError(
            f"cannot use {threshold!r} as auto_extend_size_threshold of a volume: 50 to 99 percent"
        )
    size, limit = _size(given, "initial_size", 1), _size(given, "auto_extend_size_limit", 0)
    if limit < size:
        raise UserError(
            f"a volume of {size} GB cannot grow to {limit} GB: auto_extend_size_limit is too small"
        )
    return {
        "extend_threshold_percent": int(threshold),
        "add_size_gb": _size(given, "auto_extend_size_increment", 0, most=100),
        "size_gb_limit": limit,
    }
