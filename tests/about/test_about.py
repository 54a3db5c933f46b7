"""What the service says about itself."""

from tests.conftest import MakeApp
from tests.support import databases
from tests.support.clients import ContractClient, client_of, new_details
from tests.support.contract import load_yaml

pytestmark = databases.ON_SQLITE


def test_the_root_leads_to_the_contract(client: ContractClient) -> None:
    overview = client.get("/").get_json()
    assert overview["name"] == "Tessera"
    assert overview["links"]["openapi"] == "https://id.example.com/openapi.json"


def test_json_and_yaml_are_the_same_contract(client: ContractClient) -> None:
    as_json = client.get("/openapi.json")
    as_yaml = client.get("/openapi.yaml")
    assert as_json.headers["Cache-Control"] == "public, max-age=300"
    assert as_yaml.headers["Content-Type"] == "application/yaml"
    assert load_yaml(as_yaml.get_data()) == as_json.get_json()


def test_a_feature_that_is_off_is_not_in_the_contract(make_app: MakeApp) -> None:
    client = client_of(make_app(FEATURES="about,health,users"))
    document = client.get("/openapi.json").get_json()
    assert not [path for path in document["paths"] if "sessions" in path or "jwks" in path]
    assert client.post("/v1/sessions", json={}).status_code == 404
    assert client.get("/problems/invalid_credentials").status_code == 404
    assert client.get("/v1/config").get_json()["features"] == ["about", "health", "users"]
    assert client.post("/v1/users", json=new_details()).status_code == 201


def test_answers_lead_to_what_takes_them(client: ContractClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    made = paths["/v1/users"]["post"]["responses"]["201"]["links"]
    assert made["getUser"] == {"operationId": "getUser", "parameters": {"user_id": "$response.body#/id"}}
    assert "endSession" not in made
    token = {"refresh_token": "$response.body#/refresh_token"}
    signed_in = paths["/v1/sessions"]["post"]["responses"]["201"]["links"]
    assert signed_in["refreshSession"] == {"operationId": "refreshSession", "requestBody": token}
    assert signed_in["endSession"]["parameters"]["session_id"] == "$response.body#/session/id"
    sessions = paths["/v1/users/{user_id}/sessions"]["get"]["responses"]["200"]["links"]["listSessions"]
    assert sessions["parameters"]["cursor"] == "$response.body#/next_cursor"


def test_links_lead_to_no_feature_that_is_off(make_app: MakeApp) -> None:
    document = client_of(make_app(FEATURES="-audit,-passwords")).get("/openapi.json").get_json()
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    links = [
        link["operationId"]
        for operation in operations
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert "getUser" in links
    assert "changePassword" not in links
    assert set(links) <= {operation["operationId"] for operation in operations}


def test_a_frontend_learns_what_it_needs(make_app: MakeApp) -> None:
    client = client_of(make_app(SIGN_UP="closed", IDENTIFIERS="email"))
    told = client.get("/v1/config").get_json()["settings"]["users"]
    assert told == {
        "sign_up": "closed",
        "identifiers": ["email"],
        "password_minimum_length": 8,
        "password_maximum_bytes": 1024,
        "password_forbidden_words": ["example", "tessera"],
        "password_error_codes": ["too_short", "too_long", "password_too_common", "password_contains_name"],
    }


def test_the_type_of_a_problem_leads_to_what_it_means(client: ContractClient) -> None:
    problem = client.get("/v1/users/me").get_json()
    meaning = client.get(problem["type"]).get_json()
    assert meaning["code"] == problem["code"] == "authentication_required"
    assert meaning["title"] == problem["title"]
    assert meaning["remedy"]


def test_every_problem_of_the_contract_is_described(client: ContractClient) -> None:
    document = client.get("/openapi.json").get_json()
    codes = {
        code
        for item in document["paths"].values()
        for operation in item.values()
        for answer in operation["responses"].values()
        for content in answer.get("content", {}).values()
        for code in content.get("examples", {})
    }
    assert len(codes) > 15
    for code in codes:
        assert client.get(f"/problems/{code}").status_code == 200, code


def test_the_list_of_problems_holds_each_as_it_is_described_alone(client: ContractClient) -> None:
    listed = client.get("/problems").get_json()
    assert listed["next_cursor"] is None
    codes = [kind["code"] for kind in listed["items"]]
    assert {"not_found", "invalid_credentials", "validation_failed"} <= set(codes)
    assert len(codes) == len(set(codes))
    for kind in listed["items"]:
        assert client.get(f"/problems/{kind['code']}").get_json() == kind


def test_an_unknown_problem_is_404(client: ContractClient) -> None:
    assert client.get("/problems/never_heard_of").status_code == 404
