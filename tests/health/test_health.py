"""Health: alive is not ready."""

from pathlib import Path

from flask import Flask

from api.app import create_app
from api.kit.db import dispose
from tests.conftest import SECRET
from tests.support import databases
from tests.support.clients import ContractClient, client_of


def _client(url: str, folder: Path) -> tuple[Flask, ContractClient]:
    variables = {"SECRET_KEY": SECRET, "DATABASE_URL": url, "DATA_DIR": str(folder)}
    app = create_app({f"TESSERA_{name}": value for name, value in variables.items()})
    return app, client_of(app)


def test_a_migrated_service_is_alive_and_ready(client: ContractClient) -> None:
    assert client.get("/health/live").get_json() == {"status": "ok"}
    assert client.get("/health/ready").get_json() == {"status": "ok"}


def test_before_the_migrations_it_is_alive_and_not_ready(database_kind: str, tmp_path: Path) -> None:
    with databases.fresh(database_kind, tmp_path, migrated=False) as url:
        app, client = _client(url, tmp_path)
        assert client.get("/health/live").status_code == 200
        answer = client.get("/health/ready")
        with app.app_context():
            dispose()
    assert answer.status_code == 503
    assert answer.get_json()["code"] == "not_ready"
    assert answer.get_json()["detail"] == "Not ready: migrations."
    assert int(answer.headers["Retry-After"]) >= 1


def test_without_a_database_it_is_alive_and_not_ready(tmp_path: Path) -> None:
    _, client = _client("postgresql://postgres@127.0.0.1:1/none", tmp_path)
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").get_json()["detail"] == "Not ready: database, migrations."
