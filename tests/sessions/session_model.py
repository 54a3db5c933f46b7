"""API.md's rules of sessions as a pure model: no service, no database, no clock but its own."""

from dataclasses import dataclass, field
from typing import NamedTuple

DAY = 86400  # seconds, as every number here
IDLE = 30 * DAY
ABSOLUTE = 90 * DAY
OVERLAP = 30
FRESH = 300
NOTE = 60  # between two notes of a session's last use
ACCESS_LONGEST = 900
ACCESS_SHORTEST = 855  # 5 % less
SKEW = 30  # by which clocks may differ


@dataclass(eq=False)
class User:
    """Somebody with an account."""

    password: str
    active: bool = True


@dataclass(eq=False)
class Session:
    """A signed-in device."""

    user: User
    created_at: int
    generation: int = 0
    rotated_at: int = 0
    confirmed: bool = True
    ended: bool = False
    last_used_at: int = field(init=False)
    authenticated_at: int = field(init=False)

    def __post_init__(self) -> None:
        self.last_used_at = self.authenticated_at = self.created_at

    @property
    def absolute_end(self) -> int:
        return self.created_at + ABSOLUTE

    @property
    def end(self) -> int:
        """When it ends unless it is used before."""
        return min(self.absolute_end, self.last_used_at + IDLE)


class Access(NamedTuple):
    """An access token: of which generation of a session it is, and when it was issued."""

    session: Session
    generation: int
    issued_at: int


class Outcome(NamedTuple):
    """An answer: its status, the code of a refusal, and the session whose current tokens it gives."""

    status: int
    code: str | None = None
    gives: Session | None = None


OK = Outcome(200)
DONE = Outcome(204)
INVALID_CREDENTIALS = Outcome(401, "invalid_credentials")
INVALID_TOKEN = Outcome(401, "invalid_token")
REAUTHENTICATE = Outcome(401, "reauthentication_required")
REUSED = Outcome(401, "refresh_token_reused")
SESSION_ENDED = Outcome(401, "session_ended")
WRONG_PASSWORD = Outcome(403, "wrong_password")
NOT_FOUND = Outcome(404, "not_found")


class Model:
    """Users and their sessions; each operation changes them and returns what the service must answer."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.sessions: list[Session] = []

    def lives(self, session: Session) -> bool:
        return not session.ended and self.now < session.end and session.user.active

    def live_sessions(self, user: User) -> list[Session]:
        return [session for session in self.sessions if session.user is user and self.lives(session)]

    def is_certain(self, access: Access) -> bool:
        """Tell whether the age of a token decides: its life is 5 % shorter at random."""
        age = self.now - access.issued_at - SKEW
        return age < ACCESS_SHORTEST or age >= ACCESS_LONGEST

    def sign_in(self, user: User, password: str) -> Outcome:
        if not user.active or password != user.password:
            return INVALID_CREDENTIALS
        session = Session(user, self.now)
        self.sessions.append(session)
        return Outcome(201, gives=session)

    def refresh(self, session: Session, generation: int) -> Outcome:
        """Answer as the table of the refresh rule says."""
        if not self.lives(session):
            return SESSION_ENDED
        if generation == session.generation:
            session.generation, session.confirmed = generation + 1, False
            session.rotated_at = session.last_used_at = self.now
            return Outcome(200, gives=session)
        is_before = generation == session.generation - 1
        if is_before and (not session.confirmed or self.now - session.rotated_at <= OVERLAP):
            return Outcome(200, gives=session)
        session.ended = True
        return REUSED

    def use(self, access: Access) -> Outcome:
        return self._refusal(access) or OK

    def reauthenticate(self, access: Access, password: str) -> Outcome:
        session = access.session
        if refusal := self._refusal(access):
            return refusal
        if password != session.user.password:
            return WRONG_PASSWORD
        session.authenticated_at = session.last_used_at = self.now
        return Outcome(200, gives=session)

    def sign_out(self, access: Access) -> Outcome:
        return self._refusal(access) or self._end([access.session])

    def sign_out_by_token(self, session: Session) -> Outcome:
        """Whatever the generation, and whether it has ended or not."""
        return self._end([session])

    def sign_out_device(self, access: Access, device: Session) -> Outcome:
        if refusal := self._refusal(access):
            return refusal
        is_own = device.user is access.session.user
        return self._end([device]) if is_own and self.lives(device) else NOT_FOUND

    def sign_out_everywhere(self, access: Access, *, keep_current: bool) -> Outcome:
        return self._refusal(access, fresh=True) or self._end_all(access.session, keep_current)

    def change_password(self, access: Access, current: str, new: str) -> Outcome:
        if refusal := self._refusal(access, fresh=True):
            return refusal
        user = access.session.user
        if current != user.password:
            return WRONG_PASSWORD
        user.password = new
        return self._end_all(access.session, keep_current=True)

    def _refusal(self, access: Access, *, fresh: bool = False) -> Outcome | None:
        """Return why an access token may not, or note that it was used."""
        session = access.session
        if self.now - access.issued_at >= ACCESS_LONGEST + SKEW or not self.lives(session):
            return INVALID_TOKEN
        is_current = access.generation == session.generation
        if (is_current and not session.confirmed) or self.now - session.last_used_at >= NOTE:
            session.last_used_at = self.now
        session.confirmed = session.confirmed or is_current
        return REAUTHENTICATE if fresh and self.now - session.authenticated_at > FRESH else None

    def _end_all(self, current: Session, keep_current: bool) -> Outcome:
        of_user = [session for session in self.sessions if session.user is current.user]
        return self._end([one for one in of_user if one is not current or not keep_current])

    def _end(self, sessions: list[Session]) -> Outcome:
        for session in sessions:
            session.ended = True
        return DONE
