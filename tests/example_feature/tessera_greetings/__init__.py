"""A feature from outside: whoever signs up is greeted, and can read the greeting."""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask_restful import Resource
from sqlalchemy.orm import Mapped, mapped_column

from api.kit import clock
from api.kit.db import Base, db
from api.kit.feature import Feature, Migrations
from api.kit.identity import SIGNED_IN, caller
from api.kit.operation import operation
from api.kit.problems import Problem
from api.kit.service import setting
from api.kit.settings import Setting, text
from api.users.service import UserCreated
from schemas.base import Answer, Text, Timestamp

FOLDER = Path(__file__).parent
WORDS = Setting("GREETING", "What a new user is told.", "Welcome", text)


class NotGreeted(Problem):
    status = 404
    code = "not_greeted"
    title = "You were not greeted"
    detail = "You were here before there were greetings."
    remedy = "Nothing is to be done."


class Greeting(Base):
    __tablename__ = "greetings"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    words: Mapped[str] = mapped_column(sa.String(100))
    created_at: Mapped[datetime]


class GreetingAnswer(Answer):
    words = Text(maximum=100, metadata={"example": "Welcome"})
    created_at = Timestamp(metadata={"example": "2026-11-22T09:30:00.000000Z"})


class MyGreeting(Resource):
    @operation("getGreeting", access=SIGNED_IN, answer=(200, GreetingAnswer()), problems=(NotGreeted,))
    def get(self) -> Any:
        """Get the greeting of the caller."""
        found = db.session.get(Greeting, caller().user_id)
        if found is None:
            raise NotGreeted()
        return found


def greet(event: UserCreated) -> None:
    db.session.add(Greeting(user_id=event.user_id, words=setting(WORDS), created_at=clock.now()))


feature = Feature(
    name="greetings",
    summary="A greeting for each new user.",
    requires=("users",),
    resources=(("/v1/greeting", MyGreeting),),
    settings=(WORDS,),
    problems=(NotGreeted,),
    translations=FOLDER / "translations",
    listeners=((UserCreated, greet),),
    migrations=Migrations(FOLDER / "migrations", "alembic_version_greetings"),
)
