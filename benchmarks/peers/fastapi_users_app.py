"""Accounts by fastapi-users as its documentation builds them: JWT, SQLite, Tessera's cost of a hash.

It runs with the Python of a virtual environment that has `fastapi-users[sqlalchemy]`,
`uvicorn[standard]` and `aiosqlite`, and keeps its database where `PEER_DATABASE` says.
"""

# mypy: ignore-errors
# (its libraries are not among Tessera's)

import os
import uuid
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users.password import PasswordHelper
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

SECRET = "9f2c4e7a1b8d3f605a7c9e1d2b4f6a8c0e3d5b7f"
HELPER = PasswordHelper(PasswordHash((Argon2Hasher(memory_cost=19456, time_cost=2, parallelism=1),)))


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class Manager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    pass


engine = create_async_engine(f"sqlite+aiosqlite:///{os.environ['PEER_DATABASE']}")
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def get_session():
    async with sessions() as session:
        yield session


async def get_manager(session=Depends(get_session)):  # noqa: B008  # as FastAPI wants it
    yield Manager(SQLAlchemyUserDatabase(session, User), HELPER)


def get_strategy():
    return JWTStrategy(secret=SECRET, lifetime_seconds=3600)


backend = AuthenticationBackend("jwt", BearerTransport(tokenUrl="auth/login"), get_strategy)
users = FastAPIUsers[User, uuid.UUID](get_manager, [backend])


@asynccontextmanager
async def with_tables(_app):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


app = FastAPI(lifespan=with_tables)
app.include_router(users.get_auth_router(backend), prefix="/auth")
app.include_router(
    users.get_register_router(schemas.BaseUser[uuid.UUID], schemas.BaseUserCreate), prefix="/auth"
)
app.include_router(
    users.get_users_router(schemas.BaseUser[uuid.UUID], schemas.BaseUserUpdate), prefix="/users"
)
