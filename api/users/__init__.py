"""Accounts: who there is, and what is known about them."""

from pathlib import Path
from typing import Any

from flask import Flask

from api.kit.commands import joining
from api.kit.config import PUBLIC_URL, THREADS, data_folder
from api.kit.feature import Chore, Feature
from api.kit.hashing import HASH_MEMORY_KIB, HASH_TIME_COST, Hasher
from api.kit.identity import Permission
from api.kit.password_lists import PASSWORD_LIST, lists
from api.kit.peppers import PEPPER, Peppers
from api.kit.settings import Settings, SettingsError
from api.users import erasure, standing
from api.users.commands import user
from api.users.credentials import PASSWORD_LIMIT, PasswordChanged, PasswordRefused, WrongPassword
from api.users.erasure import ERASURE_DAYS, UsersErased
from api.users.identifiers import CONTAINS_NAME, RESERVED_USERNAMES, TOO_COMMON, service_names
from api.users.list_command import list_users
from api.users.resources import Export, OneUser, Restoration, Suspension, Users
from api.users.roles import LastAdministrator
from api.users.service import (
    EmailChangeRequested,
    EmailTaken,
    SignUpRefused,
    UserChanged,
    UserCreated,
    UserDeleted,
    UserImported,
    UsernameTaken,
    UsersImported,
    profile_of,
)
from api.users.signing_up import IDENTIFIERS, SIGN_UP, SIGN_UP_LIMIT, SIGN_UP_TASK, finish_sign_up
from api.users.standing import (
    NotDeleted,
    OwnAccount,
    RoleGranted,
    RoleTaken,
    SuspensionLifted,
    TooManyRoles,
    UserRestored,
    UserSuspended,
)
from schemas.users import PASSWORD_BYTES, PASSWORD_MINIMUM


def _start(app: Flask, settings: Settings) -> None:
    locks = data_folder(settings) / "locks"
    app.extensions["tessera.hasher"] = Hasher(
        settings[HASH_MEMORY_KIB],
        settings[HASH_TIME_COST],
        locks,
        places=settings[THREADS] * 2 // 3,  # the others go on answering
        peppers=Peppers(settings[PEPPER]),
    )
    _refuse_unfit_privacy(app, settings)
    app.extensions["tessera.password_lists"] = lists(settings[PASSWORD_LIST])


def _refuse_unfit_privacy(app: Flask, settings: Settings) -> None:
    """Raise SettingsError when sign-up is private, and nobody could be told of what came of it."""
    if settings[SIGN_UP] != "private":
        return
    if "email" not in settings[IDENTIFIERS]:
        raise SettingsError(
            [f"{SIGN_UP.variable}: private sign-up needs {IDENTIFIERS.variable} with `email`"]
        )
    if not app.extensions["tessera"].events.are_heard(SignUpRefused):
        raise SettingsError([f"{SIGN_UP.variable}: private needs the feature `emails`"])


def _client_config(settings: Settings) -> dict[str, Any]:
    return {
        "sign_up": settings[SIGN_UP],
        "identifiers": list(settings[IDENTIFIERS]),
        "password_minimum_length": PASSWORD_MINIMUM,
        "password_maximum_bytes": PASSWORD_BYTES,
        "password_forbidden_words": service_names(settings[PUBLIC_URL]),
        "password_error_codes": ["too_short", "too_long", TOO_COMMON.code, CONTAINS_NAME.code],
    }


feature = Feature(
    name="users",
    summary="Accounts: sign up, read, change, delete; the list for administrators.",
    resources=(
        ("/v1/users", Users),
        ("/v1/users/<user_id>", OneUser),
        ("/v1/users/<user_id>/suspension", Suspension),
        ("/v1/users/<user_id>/restoration", Restoration),
        ("/v1/users/<user_id>/export", Export),
    ),
    settings=(
        SIGN_UP,
        IDENTIFIERS,
        RESERVED_USERNAMES,
        SIGN_UP_LIMIT,
        PASSWORD_LIMIT,
        HASH_MEMORY_KIB,
        HASH_TIME_COST,
        PEPPER,
        PASSWORD_LIST,
        ERASURE_DAYS,
    ),
    permissions=(
        Permission("users:read", "See every user."),
        Permission("users:write", "Create, change and delete every user."),
    ),
    problems=(
        UsernameTaken,
        EmailTaken,
        WrongPassword,
        LastAdministrator,
        TooManyRoles,
        OwnAccount,
        NotDeleted,
    ),
    events=(
        UserCreated,
        UserChanged,
        UserDeleted,
        UserRestored,
        UsersErased,
        UserSuspended,
        SuspensionLifted,
        RoleGranted,
        RoleTaken,
        UsersImported,
        UserImported,
        PasswordChanged,
        PasswordRefused,
        EmailChangeRequested,
        SignUpRefused,
    ),
    tasks={SIGN_UP_TASK: finish_sign_up},
    chores=(
        Chore("erasure", 3600, erasure.has_due, erasure.erase_due),
        Chore("suspensions", 60, standing.has_ended_suspensions, standing.lift_ended),
    ),
    personal_data=profile_of,
    commands=(user, joining("user", list_users)),
    client_config=_client_config,
    start=_start,
    examples=Path(__file__).parent / "examples.json",
)
