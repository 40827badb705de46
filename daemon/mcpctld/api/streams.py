"""The event streams that are open now, so that stopping the API can end them."""

from mcpctld.sessions.events import Subscription


class EventStreams:
    """A set of subscriptions; belongs to one running API."""

    def __init__(self) -> None:
        self._open: set[Subscription] = set()

    def add(self, subscription: Subscription) -> None:
        """Count one in."""
        self._open.add(subscription)

    def discard(self, subscription: Subscription) -> None:
        """Count one out."""
        self._open.discard(subscription)

    def end(self) -> None:
        """Let every stream finish with what it already holds."""
        for subscription in self._open:
            subscription.end()
