"""Rows of a batch become users: what clashes is found by one look, and all is written at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from api.bulk import claims
from api.bulk.claims import KEYS
from api.bulk.inserting import NAMES, TABLE, insert
from api.bulk.models import UserImport
from api.bulk.rows import UNKNOWN_ROLE, Refused, Row, created, error, updated
from api.kit import clock
from api.kit.db import among, db
from api.kit.problems import FieldError
from api.kit.service import emit
from api.users import roles
from api.users.models import ACTIVE, User
from api.users.service import UserImported, UsersImported
from schemas.base import REQUIRED
from schemas.messages import Message

ID_TAKEN = Message("id_taken", "Another account has this id.")
USERNAME_TAKEN = Message("username_taken", "Another account has this username, or one that looks like it.")
EMAIL_TAKEN = Message("email_taken", "Another account has this e-mail address.")
AMBIGUOUS = Message("ambiguous", "Its id, username and e-mail address are not all of one account.")
MAY_NOT_CHANGE = Message("may_not_change", "Only who has every permission may change who has roles.")
ADMINISTRATOR = Message("administrator", "A file takes neither role nor standing from an administrator.")
_LOOKS = "username_skeleton"
_TAKEN = {
    "id": ("id", ID_TAKEN),
    "username_key": ("username", USERNAME_TAKEN),
    _LOOKS: ("username", USERNAME_TAKEN),
    "email_key": ("email", EMAIL_TAKEN),
}
_COLUMNS = [attribute.columns[0].label(attribute.key) for attribute in sa.inspect(User).column_attrs]

Columns = dict[str, Any]


@dataclass
class Outcome:
    """What came of some rows: `changed` has the columns of users that are other, `roles` their new roles."""

    created: int = 0
    skipped: int = 0
    updated: int = 0
    refused: list[Refused] = field(default_factory=list)
    changed: dict[UUID, frozenset[str]] = field(default_factory=dict)
    roles: dict[UUID, list[str]] = field(default_factory=dict)

    def add(self, other: "Outcome") -> "Outcome":
        """Return both together."""
        both = Outcome(
            self.created + other.created,
            self.skipped + other.skipped,
            self.updated + other.updated,
            self.refused + other.refused,
            dict(self.changed),
            self.roles | other.roles,
        )
        for user_id, names in other.changed.items():
            both.note(user_id, names)
        return both

    def note(self, user_id: UUID, names: frozenset[str]) -> None:
        """Note which columns of a user are other now."""
        self.changed[user_id] = self.changed.get(user_id, frozenset()) | names


def store(job: UserImport, rows: Sequence[Row]) -> Outcome:
    """Write rows within the current unit of work, or with a dry run only tell what would come of them."""
    there = roles.kept({name for row in rows for name in row.columns.get("roles", ())})
    fit = [row for row in rows if there.issuperset(row.columns.get("roles", ()))]
    outcome = _store(job, fit)
    if len(fit) < len(rows):  # somebody deleted a role since they were judged
        gone = {row.line for row in rows}.difference(row.line for row in fit)
        outcome.refused += [Refused(line, [error("roles", UNKNOWN_ROLE)]) for line in sorted(gone)]
    if not job.dry_run:
        _tell(job, outcome)
    return outcome


def _tell(job: UserImport, outcome: Outcome) -> None:
    emit(UsersImported(job.id, job.created_by, outcome.created, outcome.updated, outcome.changed))
    for user_id, members in outcome.changed.items():
        if members:
            emit(UserImported(user_id, job.id, members, outcome.roles.get(user_id)))


def _store(job: UserImport, rows: Sequence[Row]) -> Outcome:
    """Write rows; again when somebody took an identifier meanwhile, and in halves when that does not help."""
    for _ in range(2):
        plan = _Plan(job, _users_of(job, rows), _claims_of(job, rows))
        for row in rows:
            plan.decide(row)
        try:
            with db.session.begin_nested():
                plan.carry_out()
            return plan.outcome
        except (IntegrityError, db.engine.dialect.loaded_dbapi.IntegrityError):  # `insert` has the driver's
            continue
    if len(rows) == 1:
        return Outcome(refused=[Refused(rows[0].line, [error("", AMBIGUOUS)])])
    half = len(rows) // 2
    return _store(job, rows[:half]).add(_store(job, rows[half:]))


def _users_of(job: UserImport, rows: Sequence[Row]) -> list[Columns]:
    """Return the users that have an identifier of the rows: locked, and whole, if they may be updated."""
    looks = []
    for key in KEYS:
        if values := [value for row in rows if (value := row.columns.get(key)) is not None]:
            looks.append(sa.select(*_KEY_COLUMNS).where(among(getattr(User, key), values)))
    if not looks:
        return []
    found = [dict(user) for user in db.session.execute(sa.union_all(*looks)).mappings()]
    if job.on_conflict != "update" or not found:
        return found
    whole = sa.select(*_COLUMNS).where(among(User.id, {user["id"] for user in found})).order_by(User.id)
    return [dict(user) for user in db.session.execute(whole.with_for_update()).mappings()]


_FOLLOWING = {"updated_at", "version", "search_text"}  # columns that change whenever others do
_KEY_COLUMNS = [getattr(User, key) for key in KEYS]


def _claims_of(job: UserImport, rows: Sequence[Row]) -> set[bytes]:
    return claims.claimed(job.id, (row.columns for row in rows)) if job.dry_run else set()


class _Plan:
    """What is to be written for a batch: rows are decided one by one, as if each were written at once."""

    def __init__(self, job: UserImport, users: Iterable[Columns], claimed: set[bytes]) -> None:
        self._job = job
        self._now = clock.now()
        self._claimed = claimed
        self._by: dict[str, dict[Any, Columns]] = {key: {} for key in KEYS}
        self._new: dict[UUID, Columns] = {}
        self._changed: dict[UUID, Columns] = {}
        self.outcome = Outcome()
        for user in users:
            self._note(user)

    def decide(self, row: Row) -> None:
        """Create, update, skip or refuse."""
        clashes = {
            key: user
            for key, by in self._by.items()
            if (value := row.columns.get(key)) is not None and (user := by.get(value)) is not None
        }
        taken = list(clashes) or self._claimed_keys(row)
        if not taken:
            self._create(row)
        elif self._job.on_conflict == "refuse" or taken == [_LOOKS]:  # who only looks alike is another
            self._refuse(row, *(error(*_TAKEN[key]) for key in taken))
        elif self._job.on_conflict == "skip":
            self.outcome.skipped += 1
        elif clashes:
            self._update(row, clashes)
        else:
            self.outcome.updated += 1

    def carry_out(self) -> None:
        """Write what was decided."""
        if self._job.dry_run:
            claims.claim(self._job.id, self._new.values())
            return
        if self._changed:
            db.session.execute(_UPDATE, [_bound(user) for user in self._changed.values()])
        if self._new:
            insert(list(self._new.values()))
        self._note_roles()

    def _note_roles(self) -> None:
        given = {user_id: user["roles"] for user_id, user in self._new.items() if user["roles"]}
        given |= {user_id: user["roles"] for user_id, user in self._changed.items()}
        if given:
            roles.note_members_of(given)

    def _create(self, row: Row) -> None:
        if not row.columns.get("username") and not row.columns.get("email"):
            self._refuse(row, error("username", REQUIRED))
            return
        user = created(row.columns, self._now)
        self._new[user["id"]] = user
        self._note(user)
        self.outcome.created += 1
        if user["roles"]:
            self._tell_of(user, frozenset({"roles"}))

    def _update(self, row: Row, clashes: Mapping[str, Columns]) -> None:
        ids = {user["id"] for user in clashes.values()}
        [user, *_] = clashes.values()
        if len(ids) > 1 or row.columns.get("id", user["id"]) != user["id"]:
            self._refuse(row, error("", AMBIGUOUS))
            return
        if user["roles"] and not self._job.may_grant:
            self._refuse(row, error("", MAY_NOT_CHANGE))
            return
        changed = updated(user, row.columns, self._now)
        if not changed["username"] and not changed["email"]:
            self._refuse(row, error("username", REQUIRED))
            return
        if _is_administrator(user) and not _is_administrator(changed):
            self._refuse(row, error("", ADMINISTRATOR))
            return
        self._forget(user)
        self._note(changed)
        self._keep(changed)
        self.outcome.updated += 1
        names = frozenset(name for name, value in changed.items() if user[name] != value) - _FOLLOWING
        self._tell_of(changed, names)

    def _tell_of(self, user: Columns, names: frozenset[str]) -> None:
        self.outcome.note(user["id"], names)
        if "roles" in names:
            self.outcome.roles[user["id"]] = user["roles"]

    def _keep(self, changed: Columns) -> None:
        if changed["id"] in self._new:
            self._new[changed["id"]] = changed
        else:
            self._changed.pop(changed["id"], None)  # who takes what another gave up comes after them
            self._changed[changed["id"]] = changed

    def _refuse(self, row: Row, *errors: FieldError) -> None:
        self.outcome.refused.append(Refused(row.line, list(dict.fromkeys(errors))))

    def _claimed_keys(self, row: Row) -> list[str]:
        if not self._claimed:
            return []
        return [k for k in KEYS if not self._claimed.isdisjoint(claims.digests({k: row.columns.get(k)}))]

    def _note(self, user: Columns) -> None:
        for key, by in self._by.items():
            if user[key] is not None:
                by[user[key]] = user

    def _forget(self, user: Columns) -> None:
        for key, by in self._by.items():
            by.pop(user[key], None)


def _is_administrator(user: Columns) -> bool:
    return user["status"] == ACTIVE and roles.ADMIN in user["roles"]


def _bound(user: Columns) -> Columns:
    return {f"new_{key}": value for key, value in user.items()}


_UPDATE = (
    sa.update(TABLE)
    .where(TABLE.c.id == sa.bindparam("new_id"))
    .values({name: sa.bindparam(f"new_{key}") for key, name in NAMES.items() if key != "id"})
)
