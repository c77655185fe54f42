"""The command line's way to the dashboard: its ``/api/v1``, found by options, the environment or the data folder."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Self
from uuid import uuid4

import httpx

ENDED = frozenset({"FINISHED", "FAILED", "STOPPED"})
TOKEN_FILE = "api-token"
URL_FILE = Path("run") / "dashboard.json"


class ClientError(Exception):
    """What a person has to know: what happened and why, what next, and the code of it."""

    def __init__(
        self, detail: str, way_on: str, code: str = "error", findings: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail, self.way_on, self.code, self.findings = detail, way_on, code, findings or []

    @property
    def document(self) -> dict[str, Any]:
        return {"code": self.code, "detail": self.detail, "way_on": self.way_on, "findings": self.findings}


def data_folder(given: Path | None = None) -> Path:
    """The deployment's folder: as given, or CLOUDWARD_DATA, or ``data`` in the current folder."""
    return given or Path(os.environ.get("CLOUDWARD_DATA") or "data")


class Client:
    """Every command gets an Idempotency-Key of its own and is repeated with it when the answer is lost, so that a
    broken connection never makes two plans of one."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        moved: Callable[[], str] | None = None,
        patience: float = 10.0,
    ) -> None:
        """``moved`` tells the address anew when nobody answers at the old one: an embedded dashboard that was started
        again may have another port. ``patience``: seconds for which a lost connection is tried again."""
        self.url = url.rstrip("/")
        self._token, self._moved, self._patience = token, moved, patience
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(40.0, connect=5.0),
            transport=transport,
            trust_env=False,
        )
        self.position = 0  # of the last command: reads wait for it

    @classmethod
    def discover(cls, url: str | None, token_file: Path | None, data: Path | None) -> "Client":
        """Raises ClientError if there is no running dashboard to be found."""
        folder = data_folder(data)
        try:
            found = url or os.environ.get("CLOUDWARD_URL") or json.loads((folder / URL_FILE).read_text())["url"]
        except (OSError, ValueError, KeyError) as error:
            raise ClientError(
                f"No running dashboard is known: {folder / URL_FILE} is not there.",
                "Start one with `cloudward up`, or name it with --url, or its data folder with --data.",
                "no_dashboard",
            ) from error
        file = token_file or Path(os.environ.get("CLOUDWARD_TOKEN_FILE") or folder / TOKEN_FILE)
        try:
            token = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ClientError(
                f"The token cannot be read from {file}: {error.strerror}.",
                "Name the file with --token-file; `cloudward up` writes it into its data folder.",
                "no_token",
            ) from error
        return cls(str(found), token, patience=2.0)

    def login(self, role: str = "admin") -> str:
        """Address that logs one browser in, once."""
        return f"{self.url}{self.post('/sign-in-links', {'role': role})['path']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int | bool) -> Any:
        """A read; it waits for what this client's commands have done."""
        if self.position:
            query = {"after": self.position, **query} if path != "/events" else query
        return self._call("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A command. Returns ``{"id", "position", "result"}``."""
        answer: dict[str, Any] = self._call("POST", path, json=body, headers={"Idempotency-Key": uuid4().hex})
        self.position = max(self.position, answer.get("position") or 0)
        return answer

    def get_text(self, path: str) -> str:
        """A document that is no JSON."""
        answer = self._http.get(path)
        if answer.is_error:
            raise ClientError(f"The dashboard answers {answer.status_code}.", "Check the name.", "http_error")
        return answer.text

    def post_text(self, path: str, text: str, media_type: str = "application/yaml") -> dict[str, Any]:
        """A command whose body is a file of YAML, or of another type."""
        headers = {"Idempotency-Key": uuid4().hex, "Content-Type": media_type}
        answer: dict[str, Any] = self._call("POST", path, content=text.encode(), headers=headers)
        self.position = max(self.position, answer.get("position") or 0)
        return answer

    def stream(self, path: str, **query: str) -> Iterator[bytes]:
        """A document as it comes, piece by piece: it may be larger than memory."""
        with self._http.stream("GET", path, params=query) as answer:
            if answer.is_error:
                answer.read()
                self._raise(
                    answer.json() if "json" in answer.headers.get("content-type", "") else {}, answer.status_code
                )
            yield from answer.iter_bytes()

    def _call(self, method: str, path: str, **request: Any) -> Any:
        deadline, pause = time.monotonic() + self._patience, 0.1
        while True:
            try:
                answer = self._http.request(method, path, **request)
                break
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise ClientError(
                        f"The dashboard at {self.url} does not answer ({type(error).__name__}).",
                        "Look whether `cloudward up` runs, then repeat the command.",
                        "dashboard_unreachable",
                    ) from error
            time.sleep(pause)
            pause = min(pause * 2, 1.0)
            self._move()
        try:
            document = answer.json()
        except ValueError as error:
            raise ClientError(
                f"{self.url} answers {answer.status_code}, but not as a Cloudward dashboard does.",
                "Check --url.",
                "not_a_dashboard",
            ) from error
        if answer.is_error:
            self._raise(document, answer.status_code)
        further = answer.links.get("next", {}).get("url")
        if further and isinstance(document, list):
            document += self._call("GET", f"{self.url}{further}")
        return document

    @staticmethod
    def _raise(document: dict[str, Any], status: int) -> NoReturn:
        raise ClientError(
            document.get("detail", f"The dashboard answers {status}."),
            document.get("way_on", "Look into the dashboard's log."),
            document.get("code", "http_error"),
            document.get("findings"),
        )

    def _move(self) -> None:
        try:
            url = self._moved().rstrip("/") if self._moved else self.url
        except Exception:  # noqa: BLE001 - not told yet: the old address is tried again
            return
        if url != self.url:
            self.url, self._http.base_url = url, httpx.URL(f"{url}/api/v1")

    def download(self, path: str, file: BinaryIO) -> None:
        """Writes what is there into the file, piece by piece."""
        try:
            with self._http.stream("GET", path) as answer:
                if answer.is_error:
                    answer.read()
                    told = answer.json()
                    raise ClientError(told.get("detail", ""), told.get("way_on", ""), told.get("code", "http_error"))
                for piece in answer.iter_bytes():
                    file.write(piece)
        except httpx.HTTPError as error:
            raise ClientError(
                f"The dashboard at {self.url} does not answer ({type(error).__name__}).",
                "Look whether `cloudward up` runs, then repeat the command.",
                "dashboard_unreachable",
            ) from error

    def find(self, what: str, name: str) -> dict[str, Any]:
        """A source, site or plan by its id or its name. ``what``: singular, as in the path."""
        query = {"archived": True} if what == "plan" else {}
        listed: list[dict[str, Any]] = self.get(f"/{what}s", **query)
        for key in ("id", "name"):
            for each in listed:
                if each[key] == name:
                    return each
        names = ", ".join(sorted(each["name"] for each in listed)[:10]) or "none yet"
        raise ClientError(f"There is no {what} called “{name}”.", f"Known: {names}.", "not_found")

    def analyzed(
        self, analysis: str, *, each: Callable[[dict[str, Any]], None] | None = None, pause: float = 0.3
    ) -> dict[str, Any]:
        """Waits until an analysis has ended, and returns it. ``each`` gets it on the way."""
        while True:
            found: dict[str, Any] = self.get(f"/analyses/{analysis}", spaces=False)
            if each:
                each(found)
            if found["state"] != "running":
                return found
            time.sleep(pause)

    def watch(self, plan: str, pause: float = 0.4) -> Iterator[dict[str, Any]]:
        """The plan, again and again, until it has ended; the last one shows its end."""
        while True:
            found: dict[str, Any] = self.get(f"/plans/{plan}")
            yield found
            if found["status"] in ENDED:
                return
            time.sleep(pause)
