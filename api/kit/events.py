"""What happened, told to whoever listens, within the transaction in which it happened."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from uuid import UUID


class Event:
    """Something that happened: subclasses are frozen dataclasses, one a kind of event.

    `actions` are the names that the audit trail may have for it; without any it leaves no trace there.
    With `by_subject` the user to whom it happened did it, though no credential of theirs came with the
    request: they proved who they are otherwise.
    """

    actions: ClassVar[tuple[str, ...]] = ()
    by_subject: ClassVar[bool] = False

    @property
    def action(self) -> str:
        """Which of the actions it was."""
        return self.actions[0]

    @property
    def subject_id(self) -> UUID | None:
        """The user to whom it happened, if it was one."""
        found: UUID | None = getattr(self, "user_id", None)
        return found

    def details(self) -> dict[str, Any]:
        """Return what else is to be kept for good: little, no secret, nothing that a person wrote."""
        return {}


Listener = Callable[[Any], None]


class Events:
    """Who listens to which kind of event; who listens to Event itself hears every kind."""

    def __init__(
        self, declared: Iterable[type[Event]], listeners: Iterable[tuple[type[Event], Listener]]
    ) -> None:
        self._declared = frozenset(declared)
        self._listeners: dict[type[Event], list[Listener]] = defaultdict(list)
        for kind, listener in listeners:
            self._listeners[kind].append(listener)

    def are_heard(self, kind: type[Event]) -> bool:
        """Tell whether anybody listens to this kind of event by itself."""
        return bool(self._listeners.get(kind))

    def emit(self, event: Event) -> None:
        """Call each listener in order; what one raises undoes the transaction.

        Raises TypeError for a kind that no feature declares.
        """
        if type(event) not in self._declared:
            raise TypeError(f"no feature declares the event {type(event).__name__}")
        for listener in (*self._listeners.get(type(event), ()), *self._listeners.get(Event, ())):
            listener(event)
