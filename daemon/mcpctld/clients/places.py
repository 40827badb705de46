"""Which files are watched: those of the user, and those of the projects in which a client of ours works."""

import os
from collections.abc import Iterable

from mcpctl.clients import Client, Machine, Place, clients, in_project

MOST_PROJECTS = 32
"""Of the projects, those with the newest sessions; each is ten folders at the most."""

Owners = tuple[tuple[Client, Place], ...]
"""The places in one file, each with its client."""


def user_files(machine: Machine) -> dict[str, Owners]:
    """The files of the user and of the system, by their path."""
    return _by_path(
        (client, place) for client in clients().values() for place in client.places(machine)
    )


def project_files(folders: Iterable[str]) -> dict[str, Owners]:
    """The files of projects; a folder that is none, such as the root, has none of these files."""
    chosen = [folder for folder in dict.fromkeys(folders) if os.path.isabs(folder)][-MOST_PROJECTS:]
    return _by_path(
        (client, in_project(place, folder.rstrip("/")))
        for folder in chosen
        for client in clients().values()
        for place in client.project
    )


def _by_path(owners: Iterable[tuple[Client, Place]]) -> dict[str, Owners]:
    found: dict[str, Owners] = {}
    for client, place in owners:
        found[place.path] = (*found.get(place.path, ()), (client, place))
    return found
