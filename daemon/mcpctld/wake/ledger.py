"""How many machine-seconds each server has used, and who kept its machine awake.

Time is cut into slices: from one moment at which it becomes known who needs the machine to the next. Each slice is
charged to who needed it, on the UTC days that it covers. All times are Unix times.
"""

from collections.abc import Mapping

import msgspec

DAY_S = 86400.0
KEPT_DAYS = 92
"""Older days are dropped."""
UNKNOWN = "unknown"
"""Awake, and nobody here has asked for it: other computers, Fly's proxy, a daemon that was not running."""


class Account(msgspec.Struct):
    """Of one server. What is written to the disk."""

    days: dict[int, dict[str, float]] = msgspec.field(default_factory=dict)
    """Seconds by day (since 1970-01-01, UTC) and by who."""
    since: float | None = None
    """Up to when is charged what the machine has been awake; None while it sleeps."""
    who: str = UNKNOWN
    """Whom the running slice is charged to."""


class Ledger:
    """All accounts, by server."""

    def __init__(self, accounts: Mapping[str, Account] | None = None) -> None:
        self.accounts: dict[str, Account] = dict(accounts or {})
        self.doubts: dict[str, float] = {}
        """Machines that were awake when the last daemon wrote this, and up to when that is charged."""
        for server, account in self.accounts.items():
            account.who = UNKNOWN  # who has needed it since is not known
            if account.since is not None:
                self.doubts[server], account.since = account.since, None

    def up(self, server: str, at: float, started_at: float | None = None) -> None:
        """Its machine is awake since `at`; nothing happens if that is known. `started_at`: as the API says, if it does.

        One that was awake under the last daemon, and was not started since, has been awake all the time.
        """
        account = self.accounts.setdefault(server, Account())
        doubt = self.doubts.pop(server, None)
        if account.since is not None:
            return
        if doubt is not None and started_at is not None and started_at <= doubt:
            at = doubt
        account.since = at

    def charge(self, server: str, at: float, who: str) -> None:
        """From `at` on it is `who` that needs the machine."""
        account = self.accounts.setdefault(server, Account())
        self._charge(account, at)
        account.who = who

    def down(self, server: str, at: float) -> None:
        """Its machine sleeps since `at`."""
        self.doubts.pop(server, None)
        account = self.accounts.get(server)
        if account is not None and account.since is not None:
            self._charge(account, at)
            account.since = None

    def _charge(self, account: Account, at: float) -> None:
        while account.since is not None and account.since < at:
            day = int(account.since // DAY_S)
            end = min(at, (day + 1) * DAY_S)
            spent = account.days.setdefault(day, {})
            spent[account.who] = spent.get(account.who, 0.0) + end - account.since
            account.since = end
        for old in sorted(account.days)[:-KEPT_DAYS]:
            del account.days[old]

    def settle(self, now: float) -> None:
        """Charge all running slices up to `now`."""
        for account in self.accounts.values():
            self._charge(account, now)

    def spent(self, server: str, first_day: int = 0) -> dict[str, float]:
        """Seconds by who, on `first_day` and after it; what is running counts once it is settled."""
        account = self.accounts.get(server, Account())
        total: dict[str, float] = {}
        for day, spent in account.days.items():
            for who, seconds in spent.items() if day >= first_day else ():
                total[who] = total.get(who, 0.0) + seconds
        return total
