"""No child outlives us, however we end: a shell waits for our end, and kills what is left of their process groups.

The system tells a process of its parent's end only through what they share: here a pipe that nobody but us can write
to. (PR_SET_PDEATHSIG asks for the end of the thread that started it, and is Linux's alone.)
"""

import os
import subprocess

import trio

GONE_BOUND_S = 1.0

SCRIPT = """\
groups=
while read -r word group; do
  case $word in
    +) groups="$groups $group" ;;
    -) kept=
       for one in $groups; do [ "$one" = "$group" ] || kept="$kept $one"; done
       groups=$kept ;;
  esac
done
end() {
  left=
  for one in $groups; do kill -s "$1" -- "-$one" && left="$left $one"; done
  groups=$left
}
[ -n "$groups" ] || exit 0
sleep 2
end TERM
[ -n "$groups" ] || exit 0
sleep 2
end KILL
"""
"""A server whose stdin has ended has two seconds to go by itself, and two more after SIGTERM."""


class Guardian:
    """Runs while there is a group to watch."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: trio.Process | None = None
        self._pipe = -1
        self._changing = trio.Lock()

    async def watch(self, group: int) -> None:
        """If we are gone before `forget`, this process group is to be killed."""
        async with self._changing:
            if not self._groups:
                await self._start()
            self._groups.add(group)
            self._tell(f"+ {group}\n")

    async def forget(self, group: int) -> None:
        """The group has ended; waits for the shell's end if it was the last one."""
        async with self._changing:
            if group not in self._groups:
                return
            self._groups.remove(group)
            self._tell(f"- {group}\n")
            if not self._groups:
                await self._stop()

    async def _start(self) -> None:  # noqa: ASYNC910  (to start one waits, or fails)
        theirs, ours = os.pipe()
        try:
            self._process = await trio.lowlevel.open_process(
                ["/bin/sh", "-c", SCRIPT],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            os.close(ours)
        else:
            self._pipe = ours
        finally:
            os.close(theirs)

    def _tell(self, line: str) -> None:
        try:
            os.write(self._pipe, line.encode())
        except OSError:  # it was not started, or has been killed
            pass

    async def _stop(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._process is not None:
            os.close(self._pipe)
            with trio.move_on_after(GONE_BOUND_S):
                await self._process.wait()
        self._process, self._pipe = None, -1
