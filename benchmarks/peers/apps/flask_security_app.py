"""Accounts by Flask-Security: its tokens, refresh tokens, sign-up; as a program it fills its tables."""

import datetime
import uuid

import common
from flask import Flask, jsonify
from flask_security import Security, SQLAlchemyUserDatastore, auth_required, current_user, hash_password
from flask_security.models import fsqla_v4 as fsqla
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Index, event, func, insert

app = Flask(__name__)
app.config.update(
    SECRET_KEY=common.SECRET,
    SECURITY_PASSWORD_SALT="188763728347623847623876234876",
    SECURITY_PASSWORD_HASH="argon2",
    SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS={f"argon2__{name}": cost for name, cost in common.ARGON2.items()},
    SECURITY_TOKEN_MAX_AGE=datetime.timedelta(days=7),
    SECURITY_REFRESH_TOKEN=True,
    SECURITY_REFRESH_TOKEN_COOKIE_NAME=None,
    SECURITY_REGISTERABLE=True,
    SECURITY_SEND_REGISTER_EMAIL=False,
    SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
    WTF_CSRF_ENABLED=False,  # tokens alone, no forms
    SQLALCHEMY_DATABASE_URI=common.database().replace("postgresql:", "postgresql+psycopg:"),
    SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 10, "max_overflow": 10},
)

db = SQLAlchemy(app)
fsqla.FsModels.set_db_info(db)


class Role(db.Model, fsqla.FsRoleMixin):
    pass


class WebAuthn(db.Model, fsqla.FsWebAuthnMixin):
    pass


class FsRefreshTracker(db.Model, fsqla.FsRefreshTrackerMixin):
    __tablename__ = "fs_refresh"


class User(db.Model, fsqla.FsUserMixin):
    pass


Index("ix_user_lower_email", func.lower(User.email))  # which it lacks: each sign-in would read all users
app.security = Security(app, SQLAlchemyUserDatastore(db, User, Role, WebAuthn, FsRefreshTracker))

if common.database().startswith("sqlite"):
    with app.app_context():

        @event.listens_for(db.engine, "connect")
        def set_pragmas(connection, _record):
            for pragma in common.PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")


@app.get("/api/me")  # it has none of its own
@auth_required("token")
def me():
    return jsonify(
        id=current_user.id,
        email=current_user.email,
        active=current_user.active,
        created_at=current_user.create_datetime.isoformat(),
        roles=[role.name for role in current_user.roles],
    )


def fill():
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    hashed = hash_password(common.PASSWORD)
    rows = [
        {
            "email": common.email(number),
            "password": hashed,
            "active": True,
            "fs_uniquifier": uuid.uuid4().hex,
            "create_datetime": now,
            "update_datetime": now,
        }
        for number in range(1, common.USERS + 1)
    ]
    db.create_all()
    db.session.execute(insert(User), rows)
    db.session.commit()


if __name__ == "__main__":
    with app.app_context():
        fill()
