"""Accounts by fastapi-users, as its documentation builds them, with JWT; as a program it fills its tables."""

import asyncio
import uuid

import common
from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users.password import PasswordHelper
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Index, event, func, insert, make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
HELPER = PasswordHelper(PasswordHash((Argon2Hasher(**common.ARGON2),)))


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


Index("ix_user_lower_email", func.lower(User.email))  # which it lacks: each sign-in would read all users


class Manager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    reset_password_token_secret = common.SECRET
    verification_token_secret = common.SECRET


url = make_url(common.database())
engine = create_async_engine(url.set(drivername=DRIVERS[url.drivername]), pool_size=20, max_overflow=10)
sessions = async_sessionmaker(engine, expire_on_commit=False)

if url.drivername == "sqlite":

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection, _record):
        for pragma in common.PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")


async def get_session():
    async with sessions() as session:
        yield session


async def get_manager(session=Depends(get_session)):
    yield Manager(SQLAlchemyUserDatabase(session, User), HELPER)


def get_strategy():
    return JWTStrategy(secret=common.SECRET, lifetime_seconds=7 * 86400)


backend = AuthenticationBackend("jwt", BearerTransport(tokenUrl="auth/login"), get_strategy)
users = FastAPIUsers[User, uuid.UUID](get_manager, [backend])
shown, made, changed = schemas.BaseUser[uuid.UUID], schemas.BaseUserCreate, schemas.BaseUserUpdate

app = FastAPI()
app.include_router(users.get_auth_router(backend), prefix="/auth")
app.include_router(users.get_register_router(shown, made), prefix="/auth")
app.include_router(users.get_users_router(shown, changed), prefix="/users")


async def fill(hashed):
    rows = [
        {
            "id": uuid.uuid4(),
            "email": common.email(number),
            "hashed_password": hashed,
            "is_active": True,
            "is_superuser": number == 1,
            "is_verified": True,
        }
        for number in range(1, common.USERS + 1)
    ]
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(User), rows)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(fill(HELPER.hash(common.PASSWORD)))
