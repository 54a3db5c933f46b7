"""People of several scripts, made fast and always the same, straight into the tables."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from api.kit.searching import folded, searchable
from benchmarks.measuring import report

_BATCH = 20_000
_END = datetime(2026, 11, 1, tzinfo=UTC)
SPAN = timedelta(days=1500)  # in which all of them came
BEGIN = _END - SPAN
_LATIN = (
    "Mina Ken Olivia Liam Emma Noah Ava Lucas Sofía José María Andrés Zoë Chloé François Jürgen Björn Łukasz "
    "Małgorzata Željko Dvořák Nguyễn Thảo Đức Siobhán Aoife Ngozi Chidi Wanjiru Ayşe Emre Priya Arjun",
    "Smith Johnson García Martínez Rodríguez Müller Schröder Dubois Lefèvre Kowalski Wiśniewska Novák "
    "Horváth Nguyễn Trần Phạm O'Brien MacLeod Okafor Mwangi Çelik Öztürk Sharma Patel Andersson Sørensen",
)
_SCRIPTS = (  # of how many in a hundred, given names, family names, whether the family's comes first
    (62, *_LATIN, False),
    (10, "민수 서연 지훈 지우 도윤 하은 예준 수아 시우 하윤 준서", "김 이 박 최 정 강 조 윤 장 임", True),
    (9, "伟 芳 娜 秀英 敏 静 丽 强 磊 军 洋 勇 艳 杰", "王 李 张 刘 陈 杨 赵 黄 周 吴", True),
    (
        7,
        "Александр Мария Дмитрий Анна Сергей Ольга Андрей Елена Фёдор",
        "Иванов Смирнов Кузнецов Попов Соколов",
        False,
    ),
    (4, "さくら 陽菜 蓮 ひろし ケン 美咲 大翔", "佐藤 鈴木 高橋 田中 伊藤 渡辺", True),
    (4, "محمد أحمد فاطمة علي خديجة يوسف", "الهاشمي حسن العلي إبراهيم", False),
    (2, "Γιώργος Μαρία Κώστας Ελένη Νίκος", "Παπαδόπουλος Βλάχος Οικονόμου", False),
    (2, "राहुल प्रिया अमित नेहा", "शर्मा वर्मा सिंह गुप्ता", False),
)
_DOMAINS = ("example.com",) * 5 + ("example.org",) * 3 + ("mail.example.net", "example.co.kr", "example.de")
_HASH = "$argon2id$v=19$m=19456,t=2,p=1$" + "c2FsdHNhbHRzYWx0c2FsdA" + "$" + "h" * 43
_WEIGHTS = [script[0] for script in _SCRIPTS]
_NAMES = [(script[1].split(), script[2].split(), script[3]) for script in _SCRIPTS]
_COLUMNS = (
    "id, username, username_key, username_skeleton, email, email_key, email_verified, password_hash, "
    "password_changed_at, display_name, search_text, locale, status, roles, metadata, app_metadata, "
    "created_at, updated_at, last_seen_at, deleted_at, version"
)
# Every 16th user and every 256th, by the last digits of the id; the list's filter looks here alone.
ROLES = {"member": "0", "support": "00"}
Row = tuple[Any, ...]


def people(count: int) -> Iterator[Row]:
    """Yield the rows of so many users, the oldest first: always the same ones."""
    dice = random.Random(20261122)
    begin, step = BEGIN, SPAN / count
    for number in range(count):
        within_a_second = timedelta(microseconds=dice.randrange(1_000_000))
        yield _person(dice, number, begin + step * number + within_a_second)


def _person(dice: random.Random, number: int, created_at: datetime) -> Row:
    [(given_names, families, family_first)] = dice.choices(_NAMES, _WEIGHTS)
    given, family = dice.choice(given_names), dice.choice(families)
    display_name = f"{family}{given}" if family_first else f"{given} {family}"
    names = f"{given}.{family}".replace("'", "") if dice.random() < 0.6 else dice.choice(("user", "me", "hi"))
    username = f"{names}{number:x}"
    mailbox = folded(names) if folded(names).isascii() else "mail"
    email = f"{mailbox}.{number}@{dice.choice(_DOMAINS)}"
    status = dice.choices(("active", "deleted", "suspended"), (970, 22, 8))[0]
    seen = created_at + (_END - created_at) * dice.random() if dice.random() < 0.8 else None
    return (
        _id(dice, created_at),
        username,
        username.casefold(),
        username.casefold(),
        email,
        email,
        dice.random() < 0.8,
        _HASH,
        created_at,
        display_name,
        searchable((username, email, display_name)),
        None,
        status,
        "[]",
        "{}",
        "{}",
        created_at,
        created_at,
        seen,
        created_at if status == "deleted" else None,
        1,
    )


def _id(dice: random.Random, made_at: datetime) -> UUID:
    """Return a UUIDv7 of an instant (RFC 9562 section 5.7)."""
    milliseconds = int(made_at.timestamp() * 1000) << 80
    return UUID(int=milliseconds | 7 << 76 | dice.getrandbits(12) << 64 | 2 << 62 | dice.getrandbits(62))


def fill_postgresql(url: str, count: int) -> None:
    """Copy so many users into the tables at a URL, and let the database look at them."""
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY users ({_COLUMNS}) FROM STDIN".encode()) as copy:

            def add(rows: list[Row]) -> None:
                for row in rows:
                    copy.write_row(row)

            _in_batches(count, add)
        for role, ending in ROLES.items():
            cursor.execute(
                "INSERT INTO role_members SELECT %s, id, created_at FROM users WHERE id::text LIKE %s",
                (role, f"%{ending}"),
            )
        report("  VACUUM ANALYZE")
        cursor.execute("VACUUM ANALYZE users, role_members")


def fill_sqlite(path: Path, count: int) -> None:
    """Insert so many users into the tables of a file."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")  # of this filling alone
    places = ", ".join("?" for _ in _COLUMNS.split(", "))
    insert = f"INSERT INTO users ({_COLUMNS}) VALUES ({places})"  # noqa: S608  # of constants

    def add(rows: list[Row]) -> None:
        connection.execute("BEGIN")
        connection.executemany(insert, [tuple(map(_as_sqlite_keeps_it, row)) for row in rows])
        connection.execute("COMMIT")

    _in_batches(count, add)
    for role, ending in ROLES.items():
        members = "INSERT INTO role_members SELECT ?, id, created_at FROM users WHERE id LIKE ?"
        connection.execute(members, (role, f"%{ending}"))
    connection.close()


def _as_sqlite_keeps_it(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    return value


def _in_batches(count: int, add: Callable[[list[Row]], object]) -> None:
    rows, done = people(count), 0
    while batch := list(islice(rows, _BATCH)):
        add(batch)
        done += len(batch)
        if done % (_BATCH * 5) == 0 or done == count:
            report(f"  {done:,} of {count:,} users")
