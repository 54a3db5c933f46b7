"""What happened, told to whoever listens, within the transaction in which it happened."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any


class Event:
    """Something that happened: subclasses are frozen dataclasses, one a kind of event."""


Listener = Callable[[Any], None]


class Events:
    """Who listens to which kind of event."""

    def __init__(
        self, declared: Iterable[type[Event]], listeners: Iterable[tuple[type[Event], Listener]]
    ) -> None:
        self._declared = frozenset(declared)
        self._listeners: dict[type[Event], list[Listener]] = defaultdict(list)
        for kind, listener in listeners:
            self._listeners[kind].append(listener)

    def are_heard(self, kind: type[Event]) -> bool:
        """Tell whether anybody listens to a kind of event."""
        return bool(self._listeners.get(kind))

    def emit(self, event: Event) -> None:
        """Call each listener in order; what one raises undoes the transaction.

        Raises TypeError for a kind that no feature declares.
        """
        if type(event) not in self._declared:
            raise TypeError(f"no feature declares the event {type(event).__name__}")
        for listener in self._listeners.get(type(event), ()):
            listener(event)
