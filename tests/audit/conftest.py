"""Tests of the audit trail begin with an empty one."""

import pytest
from flask import Flask

from api.kit.db import db
from tests.support import databases


@pytest.fixture
def app(app: Flask) -> Flask:
    with app.app_context():
        databases.wipe_trail(db.engine)
    return app
