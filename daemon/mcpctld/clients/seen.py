"""What the files of clients say, for whoever wants to know. Loads nothing of what is needed to read them."""

from collections.abc import Callable

from mcpctl import shapes

OnNamed = Callable[[frozenset[str]], object]


class Seen:
    """Kept by the watcher; read by the status, and by whoever keeps servers warm."""

    def __init__(self) -> None:
        self.named: frozenset[str] | None = None
        """The servers of ours that users' files attach to; None until all files have been looked at.

        Files of projects do not count: nobody may have a server started by handing over a folder.
        """
        self._files: dict[str, shapes.ClientFile] = {}
        self._listeners: list[OnNamed] = []

    def on_named(self, listener: OnNamed) -> None:
        """Call `listener` with `named` each time it becomes another one; now, if it is known."""
        self._listeners.append(listener)
        if self.named is not None:
            listener(self.named)

    def files(self) -> list[shapes.ClientFile]:
        """Every file that is there, or was, by its path."""
        return [self._files[path] for path in sorted(self._files)]

    def put(self, path: str, file: shapes.ClientFile | None) -> None:
        """Keep what a file says; None forgets it."""
        if file is None:
            self._files.pop(path, None)
        else:
            self._files[path] = file

    def name(self, servers: frozenset[str]) -> None:
        """Say which servers are named now."""
        if servers != self.named:
            self.named = servers
            for listener in self._listeners:
                listener(servers)
