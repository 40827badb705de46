"""The config files of all clients are watched, and what happens to them is told.

This loads what `mcpctl` knows of clients: some 600 KiB, and 500 more with the first file that is there.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

import trio

from mcpctl.clients import Machine
from mcpctld.clients.looking import look_at
from mcpctld.clients.places import Owners, project_files, user_files
from mcpctld.clients.put_back import put_back
from mcpctld.clients.seen import Seen
from mcpctld.clients.watched import GONE, Look, Named, Verdict, Watched
from mcpctld.drivers.watch_files import watch_files

PATIENCE_S = (0.1, 0.3, 0.6, 1.0)
"""The waits for a file that is missing, empty or broken: its owner may be in the middle of writing it."""
CONFIRM_S = 0.25
"""What an entry was taken out of is looked at again: half of a file may read like a whole one."""
REST_S = 3.0
"""A large file is not looked at again for so long: Claude Code writes its own all the time."""
AT_ONCE = 2
"""Files that are read at the same time, each by a thread."""

Publish = Callable[[str, dict[str, Any]], None]

_log = logging.getLogger(__name__)


async def watch_clients(
    seen: Seen, publish: Publish, projects: Callable[[], Iterable[str]]
) -> None:
    """Keep `seen` and tell what changes, for ever; `projects` answers the folders in which clients work."""
    machine = Machine.this()
    async with trio.open_nursery() as nursery:
        watch = _ClientWatch(seen, publish, projects, user_files(machine), nursery)
        await watch_files(watch.paths, watch.heed)


class _ClientWatch:
    """All files, each with the task that follows it while it has news."""

    def __init__(
        self,
        seen: Seen,
        publish: Publish,
        projects: Callable[[], Iterable[str]],
        user: dict[str, Owners],
        nursery: trio.Nursery,
    ) -> None:
        self._seen = seen
        self._publish = publish
        self._projects = projects
        self._user = {path: Watched(path, owners) for path, owners in user.items()}
        self._project: dict[str, Watched] = {}
        self._nursery = nursery
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._news: dict[str, bool] = {}
        """The files that are being followed, and whether there are news meanwhile."""
        self._is_complete = False

    # ------------------------------------------------------------ what the driver asks and tells

    def paths(self) -> Collection[str]:
        """The files to watch now; what was known of those of other projects is forgotten."""
        wanted = project_files(self._projects())
        for path in self._project.keys() - wanted.keys():
            del self._project[path]
            self._seen.put(path, None)
        for path in wanted.keys() - self._project.keys() - self._user.keys():
            self._project[path] = Watched(path, wanted[path])
        return [*self._user, *self._project]

    async def heed(self, paths: Collection[str]) -> None:
        """Follow each of these files; returns at once, but for the first time, when all are looked at."""
        if self._is_complete:
            for path in paths:
                self._nursery.start_soon(self._follow, path)
        else:
            async with trio.open_nursery() as nursery:
                for path in paths:
                    nursery.start_soon(self._follow, path)
            self._is_complete = True
            _log.info("clients.watched", extra={"files": len(paths)})
            self._name()
        await trio.lowlevel.checkpoint()

    # ------------------------------------------------------------ one file

    async def _follow(self, path: str) -> None:  # noqa: ASYNC910  (`_settle` waits)
        """Look until it is clear what has happened, and nothing more has."""
        watched = self._find(path)
        if watched is None:
            return  # noqa: ASYNC910  (the project has gone)
        if path in self._news:
            self._news[path] = True
            return  # noqa: ASYNC910  (another task does it)
        self._news[path] = True
        try:
            while self._news[path]:
                self._news[path] = False
                if await self._settle(watched) and self._is_complete:
                    await trio.sleep(REST_S)
        except Exception:  # a guard: one surprising file must not end the watch of all
            _log.exception("client.look_failed", extra={"file": path})
        finally:
            del self._news[path]

    async def _settle(self, watched: Watched) -> bool:
        """Wait for a file that is not whole; what it is then, counts. Whether it is a large one."""
        look, running = await self._look(watched)
        for wait_s in PATIENCE_S if watched.was_there or look.problem else ():
            if watched.is_whole(look):
                break
            await trio.sleep(wait_s)
            look, running = await self._look(watched)
        if look.is_missing:
            look = Look(GONE, {})
        verdict = watched.judge(look, running=running, now=trio.current_time())
        if verdict.judgement.removed and await self._has_moved(watched, look):
            self._news[watched.path] = True
        else:
            await self._accept(watched, look, verdict)
        return look.is_large

    async def _look(self, watched: Watched) -> tuple[Look, bool]:
        return await trio.to_thread.run_sync(look_at, watched, limiter=self._limiter)

    async def _has_moved(self, watched: Watched, look: Look) -> bool:
        if look.digest == GONE:  # that was waited for
            return False  # noqa: ASYNC910
        await trio.sleep(CONFIRM_S)
        return (await self._look(watched))[0].digest != look.digest

    # ------------------------------------------------------------ what has happened

    async def _accept(self, watched: Watched, look: Look, verdict: Verdict) -> None:
        if not watched.is_whole(look):
            self._broken(watched, look.problem or "it cannot be read")
        elif verdict.judgement.verdict != "same":
            await self._changed(watched, look, verdict)
        else:
            if watched.recover():
                self._tell(watched, "client.file_changed")
            self._show(watched)
        await trio.lowlevel.checkpoint()

    async def _changed(self, watched: Watched, look: Look, verdict: Verdict) -> None:
        is_first = watched.known.digest is None
        watched.accept(look, verdict)
        if not is_first:
            self._tell(watched, "client.file_changed")
            self._tell_servers(watched, look, verdict)
        if await self._put_back(watched, verdict):
            self._news[watched.path] = True  # and nobody hears in between that it was not named
        else:
            self._show(watched)

    async def _put_back(self, watched: Watched, verdict: Verdict) -> bool:
        """Put back what was wiped; False when nothing was."""
        done = 0
        for entry in verdict.lost:
            if await put_back(entry):
                done += 1
                self._tell(watched, "client.put_back", entry)
        if verdict.lost:
            watched.count_put_back(done)
        await trio.lowlevel.checkpoint()
        return done > 0

    def _broken(self, watched: Watched, problem: str) -> None:
        if watched.report(problem):
            _log.warning("client.broken", extra={"file": watched.path, "error": problem})
            self._tell(watched, "client.broken", problem=problem)
        self._show(watched)

    def _tell_servers(self, watched: Watched, look: Look, verdict: Verdict) -> None:
        told, after = verdict.judgement, look.entries or {}
        for key in told.removed:
            self._tell(watched, "client.server_removed", verdict.before[key])
        for key in told.added:
            self._tell(watched, "client.server_added", after[key])
        for key in told.changed:
            self._tell(watched, "client.server_changed", after[key])

    def _tell(
        self, watched: Watched, type_: str, entry: Named | None = None, **more: object
    ) -> None:
        data: dict[str, Any] = {"file": watched.path, "clients": watched.client_names(), **more}
        if entry is not None:
            data |= {"name": entry.name, "server": entry.server}
        self._publish(type_, data)

    def _find(self, path: str) -> Watched | None:
        return self._user.get(path) or self._project.get(path)

    def _show(self, watched: Watched) -> None:
        if self._find(watched.path) is watched:
            self._seen.put(watched.path, watched.shown())
        self._name()

    def _name(self) -> None:
        """Tell which servers are named, once all files have been looked at."""
        if self._is_complete:
            named = [watched.named() for watched in self._user.values()]
            self._seen.name(frozenset().union(*named))
