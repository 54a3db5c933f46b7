"""Passwords: changed by who knows them, and by administrators."""

from api.kit.feature import Feature
from api.passwords.resources import UserPassword

feature = Feature(
    name="passwords",
    summary="Change a password, and sign out whoever knew the old one.",
    requires=("users", "sessions"),
    resources=(("/v1/users/<user_id>/password", UserPassword),),
)
