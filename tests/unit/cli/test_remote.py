"""What the verbs that ask a dashboard tell, ask and end with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from cli import connecting, remote
from cli.client import Client, ClientError

PLAN: dict[str, Any] = {
    "id": "a" * 32,
    "name": "First move",
    "status": "RUNNING",
    "stopping": False,
    "paused": False,
    "stuck": None,
    "source": {"id": "b" * 32, "name": "Wiki"},
    "site": {"id": "c" * 32, "name": "Example", "url": "http://127.0.0.1"},
    "spaces": {"selected": 1, "migrated": 0, "failed": 0},
    "kinds": {"page": {"selected": 2, "migrated": 1, "skipped": 0, "failed": 0}},
    "pages_total": 2,
    "percent": 50,
    "line": "1 of 2 pages; 0 of 1 space ended.",
    "tasks": [],
    "reasons": [],
}


class Api:
    """A dashboard that answers from a table and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, str | None]] = []
        self.answers: dict[str, Any] = {}
        self.lost = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, path, body, request.headers.get("Idempotency-Key")))
        if self.lost:
            self.lost -= 1
            raise httpx.ReadError("connection lost")
        found = self.answers.get(path if request.method == "GET" else f"{request.method} {path}")
        if isinstance(found, list) and found and isinstance(found[0], httpx.Response | tuple):
            found = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(found, tuple):
            return httpx.Response(found[0], json=found[1])
        if found is None and request.method == "POST":
            return httpx.Response(202, json={"id": "f" * 32, "position": 7, "result": {}})
        return (
            httpx.Response(200, json=found)
            if found is not None
            else httpx.Response(404, json={"detail": "There is none."})
        )


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    api = Api()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "dashboard.json").write_text('{"url": "http://127.0.0.1:1"}')
    (tmp_path / "api-token").write_text("a-token-of-the-tests\n")
    monkeypatch.setenv("CLOUDWARD_DATA", str(tmp_path))
    monkeypatch.delenv("CLOUDWARD_URL", raising=False)
    monkeypatch.delenv("CLOUDWARD_TOKEN_FILE", raising=False)
    monkeypatch.setattr("cli.client.time.sleep", lambda _: None)
    make = Client.__init__

    def with_transport(self: Client, url: str, token: str, **more: Any) -> None:
        make(self, url, token, transport=httpx.MockTransport(api), **more)

    monkeypatch.setattr(Client, "__init__", with_transport)
    api.answers |= {
        "/sources": [{"id": "b" * 32, "name": "Wiki", "kind": "xml", "analysis": {"id": "d" * 32, "state": "completed"}}],
        "/sites": [{"id": "c" * 32, "name": "Example", "url": "http://x", "kind": "sandbox", "sandbox": True}],
        "/plans": [PLAN],
        f"/plans/{PLAN['id']}": PLAN,
        f"/plans/{PLAN['id']}/report": {"conserved": True, "verification": [], "status": "FINISHED"},
        f"/analyses/{'d' * 32}": {"spaces": [{"id": "1", "key": "ENG"}, {"id": "2", "key": "OPS"}]},
    }  # fmt: skip
    return api


def run(*words: str) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    remote.register(app)
    return CliRunner().invoke(app, list(words))


def test_a_plan_is_saved_with_ids_for_the_names_and_keys_a_person_typed(api: Api) -> None:
    result = run(
        "plan", "save", "Move", "--source", "Wiki", "--site", "Example", "--space", "eng", "--accept", "file_missing"
    )
    assert result.exit_code == 0, result.output
    body = next(body for method, path, body, _ in api.asked if (method, path) == ("POST", "/plans"))
    assert (body["source"], body["site"], body["spaces"]) == ("b" * 32, "c" * 32, ["1"])
    assert body["accepted"] == ["file_missing"]


def test_an_unknown_space_is_told_with_those_there_are(api: Api) -> None:
    result = run("plan", "save", "Move", "--source", "Wiki", "--site", "Example", "--space", "NOPE")
    assert result.exit_code == 1 and "NOPE" in result.stderr and "ENG, OPS" in " ".join(result.stderr.split())


@pytest.mark.parametrize(("status", "conserved", "code"), [("FINISHED", True, 0), ("FAILED", True, 3), ("STOPPED", True, 3), ("FINISHED", False, 1)])  # fmt: skip
def test_watching_ends_with_a_code_that_says_how_the_plan_ended(
    api: Api, status: str, conserved: bool, code: int
) -> None:
    api.answers[f"/plans/{PLAN['id']}"] = [(200, PLAN), (200, {**PLAN, "status": status})]
    api.answers[f"/plans/{PLAN['id']}/report"] = {"conserved": conserved, "verification": [], "status": status}
    result = run("plan", "watch", "First move", "--json")
    assert result.exit_code == code, result.output
    assert json.loads(result.stdout)["status"] == status


def test_a_report_tells_apart_what_verification_put_right_and_what_is_wrong(api: Api) -> None:
    api.answers[f"/plans/{PLAN['id']}"] = {**PLAN, "status": "FAILED", "guide": "Not completed."}
    verified = [("restriction", "restricted")] * 2 + [("restriction", "closed"), ("page", "title")]
    found = [{"space": "1", "kind": kind, "id": str(n), "what": what} for n, (kind, what) in enumerate(verified)]
    api.answers[f"/plans/{PLAN['id']}/report"] = {"conserved": True, "verification": found, "status": "FAILED"}
    told = " ".join(run("plan", "show", "First move").output.split())
    assert "verification: 2 pages that the source hides by now were hidden" in told
    assert "verification: 1 page was closed to all but the migrator" in told
    assert "verification: 1 thing is not as it was sent" in told


def test_a_lost_answer_repeats_the_same_command_and_not_a_new_one(api: Api) -> None:
    api.lost = 2
    with Client("http://127.0.0.1:1", "a-token-of-the-tests") as client:
        client.post("/plans", {"name": "x"})
    keys = [key for method, path, _, key in api.asked if (method, path) == ("POST", "/plans")]
    assert len(keys) == 3 and len(set(keys)) == 1 and keys[0]


def test_reads_after_a_command_wait_for_it(api: Api) -> None:
    with Client("http://127.0.0.1:1", "a-token-of-the-tests") as client:
        client.post("/plans/x/run")
        assert client.position == 7


def test_a_refusal_is_told_in_words_and_as_json_and_never_as_a_traceback(api: Api) -> None:
    problem = {
        "detail": "Three addresses are not repaired.",
        "way_on": "Repair them.",
        "code": "email_errors_unresolved",
    }
    api.answers[f"POST /plans/{PLAN['id']}/run"] = (409, {**problem, "findings": [{"address": "invalid", "count": 3}]})
    result = run("plan", "run", "First move")
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert "Three addresses are not repaired. Repair them." in " ".join(result.stderr.split())
    told = json.loads(run("plan", "run", "First move", "--json").stdout)
    assert told["problem"]["code"] == "email_errors_unresolved" and told["problem"]["findings"]


def test_without_a_dashboard_the_way_to_one_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLOUDWARD_URL", raising=False)
    result = run("plan", "list", "--data", str(tmp_path))
    assert result.exit_code == 69 and "cloudward up" in " ".join(result.stderr.split())


def test_a_secret_is_read_from_a_variable_and_is_no_argument(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIKI_TOKEN", "t0ken")
    result = run("source", "add", "Server", "https://wiki.example.com", "--token-from", "env:WIKI_TOKEN")
    assert result.exit_code == 0, result.output
    body = next(body for method, path, body, _ in api.asked if (method, path) == ("POST", "/sources"))
    assert body["credential"] == {"token": "t0ken"} and "t0ken" not in result.output
    with pytest.raises(ClientError):
        remote.credential(token_from="t0ken")


def test_other_addresses_of_a_source_are_shown_or_replaced(api: Api) -> None:
    connecting.register(typer.Typer())
    api.answers["/sources"][0]["base_urls"] = []
    api.answers[f"/sources/{'b' * 32}"] = {"base_urls": ["https://old.example.com"]}
    assert "Name one" in run("source", "base-urls", "Wiki").output
    assert not [body for method, path, body, _ in api.asked if path.endswith("/base-urls")]
    given = ("--base-url", "https://old.example.com", "--base-url", "http://older.example.com")
    for named, expected in ((given, ["https://old.example.com", "http://older.example.com"]), (("--none",), [])):
        assert "https://old.example.com" in run("source", "base-urls", "Wiki", *named).output
        assert api.asked[-2][2] == {"base_urls": expected}


def test_an_export_is_registered_by_its_whole_path(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("source", "add", "Old", "export.zip").exit_code == 0
    body = next(body for method, path, body, _ in api.asked if (method, path) == ("POST", "/sources"))
    assert body["location"] == str(tmp_path.resolve() / "export.zip")


@pytest.mark.parametrize(
    "words", [("--help",), ("plan", "--help"), ("plan", "run", "--help"), ("source", "add", "--help")]
)
def test_help_tells_every_verb(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 0 and "Usage" in result.output


def test_a_wrong_option_is_a_usage_error() -> None:
    assert run("plan", "run", "--nonsense").exit_code == 2
