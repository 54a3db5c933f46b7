"""Signing up."""

from tests.support.clients import ContractClient, new_details


def test_a_person_signs_up(client: ContractClient) -> None:
    details = new_details(display_name="Mina Kim", locale="ko-KR", metadata={"theme": "dark"})
    response = client.post("/v1/users", json=details)
    user = response.get_json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"https://id.example.com/v1/users/{user['id']}"
    assert {name: user[name] for name in details if name != "password"} == {
        name: value for name, value in details.items() if name != "password"
    }
    assert user["status"] == "active"
    assert user["roles"] == []
    assert user["email_verified"] is False
    assert user["last_seen_at"] is None
