"""The settings as they ship pass Django's own deployment checks, and the API describes itself."""

import io
import json

import pytest
from django.conf import settings as django_settings
from django.core import checks
from django.core.management import call_command

from platform_site.common.api.errors import CODES
from tests import people


def test_check_deploy_has_nothing_to_say() -> None:
    found = checks.run_checks(include_deployment_checks=True)
    assert [message for message in found if not message.is_silenced()] == []


def test_only_the_checks_that_https_behind_a_proxy_answers_are_silenced() -> None:
    assert set(django_settings.SILENCED_SYSTEM_CHECKS) <= {
        f"security.W{number}" for number in ("004", "005", "008", "012", "016", "021")
    }


def test_nothing_is_open_to_other_sites_or_to_debugging() -> None:
    assert django_settings.DEBUG is False
    assert "*" not in django_settings.ALLOWED_HOSTS
    assert django_settings.SESSION_COOKIE_HTTPONLY
    assert django_settings.SESSION_COOKIE_SAMESITE in {"Lax", "Strict"}
    assert django_settings.AUTHENTICATION_BACKENDS[0].startswith("axes.")


@pytest.mark.django_db
def test_the_schema_has_no_warnings_and_is_valid() -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=io.StringIO())


@pytest.mark.django_db
def test_the_schema_tells_tokens_errors_and_keys() -> None:
    response = people.program(people.alice()).get("/api/v1/schema/")
    assert response.headers["Content-Type"].startswith("application/json")
    schema = json.loads(response.content)
    assert schema["components"]["securitySchemes"]["token"]["name"] == "Authorization"
    assert schema["components"]["schemas"]["Error"]["properties"] == {
        "error": {"$ref": "#/components/schemas/ErrorDetail"}
    }
    for path, operations in schema["paths"].items():
        assert path.endswith("/"), path
        for method, operation in operations.items():
            refused = operation["responses"]["401"]["content"]["application/json"]["schema"]
            assert refused == {"$ref": "#/components/schemas/Error"}, (method, path)
            assert {"400", "403", "429", "503"} <= set(operation["responses"])
            assert all(int(status) in CODES for status in operation["responses"] if int(status) >= 400)
            named = {parameter["name"] for parameter in operation.get("parameters", [])}
            assert ("Idempotency-Key" in named) == (method == "post"), (method, path)


@pytest.mark.django_db
def test_every_documented_path_answers() -> None:
    client = people.program(people.charlie())
    schema = client.get("/api/v1/schema/").json()
    assert {"/api/v1/projects/", "/api/v1/audit/", "/api/v1/jobs/"} <= set(schema["paths"])
    for path in schema["paths"]:
        if "{" not in path and "get" in schema["paths"][path]:
            given = schema["paths"][path]["get"].get("parameters", [])
            asks = any(parameter.get("required") for parameter in given)
            assert client.get(path).status_code == (422 if asks else 200), path
