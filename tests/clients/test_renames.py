"""Whoever renames a member or an operation of the contract breaks clients, and their types say so."""

from pathlib import Path

import pytest

from tests.clients.workshop import WORKSHOPS
from tests.support.servers import ROOT

pytestmark = pytest.mark.long

RENAMED = {
    "member": [("access_token:", "bearer:"), ("- access_token\n", "- bearer\n")],
    "operation": [
        ("operationId: createSession\n", "operationId: signIn\n"),
        ("  /v1/sessions:", "  /v1/sign-ins:"),
    ],
}


@pytest.mark.parametrize("language", WORKSHOPS)
@pytest.mark.parametrize("what", RENAMED)
def test_a_renamed_thing_fails_the_type_check(language: str, what: str, tmp_path: Path) -> None:
    document = (ROOT / "openapi.yaml").read_text(encoding="utf-8")
    for name, other in RENAMED[what]:
        assert name in document
        document = document.replace(name, other)
    workshop = WORKSHOPS[language](tmp_path)
    workshop.generate(document)
    checked = workshop.check()
    assert checked.returncode != 0
    complaint = {"member": "access_token", "operation": "session"}[what]
    assert complaint in checked.stdout
