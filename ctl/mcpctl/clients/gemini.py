"""Gemini CLI. A session that saves a setting removes what it has not known itself; comments yes, trailing commas no."""

from mcpctl.clients._client import Client, Machine, Place, project


def _folder(machine: Machine) -> str:
    return f"{machine.variable('GEMINI_CLI_HOME') or machine.home}/.gemini"


def _system(machine: Machine) -> str:
    if named := machine.variable("GEMINI_CLI_SYSTEM_SETTINGS_PATH"):
        return named
    if machine.system == "darwin":
        return "/Library/Application Support/GeminiCli/settings.json"
    return "/etc/gemini-cli/settings.json"


def _places(machine: Machine) -> tuple[Place, ...]:
    return (
        Place(f"{_folder(machine)}/settings.json"),
        Place(_system(machine), scope="system", why_not="it is managed by an administrator"),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    return (_folder(machine),)


CLIENT = Client(
    name="gemini",
    title="Gemini CLI",
    places=_places,
    marks=_marks,
    project=(project(".gemini/settings.json"),),
    reload="start it again, and end its other sessions first",
    wipes=True,
    processes=("gemini",),
    name_pattern=r"[A-Za-z0-9.-]+",
    name_rule="no underscore: its policies are split there",
)
