"""``python -m tests.bench.baseline``: a sequential migration by a script, as an administrator would write one.

From a stand-in Server to a stand-in Cloud with the client ``atlassian-python-api``: spaces, pages by depth, blog posts,
attachments, labels, restrictions by group; bodies as they are, one request after the other. What the product does
better is measured against this. The last line is JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlassian.confluence.cloud.cloud import ConfluenceCloud
from atlassian.confluence.server import Server
from requests import HTTPError

PAGE = 50
NO_CHECK = {"X-Atlassian-Token": "no-check"}
_EXPAND = "body.storage,version,ancestors,metadata.labels"


@dataclass
class Moved:
    """What a run moved."""

    spaces: int = 0
    pages: int = 0
    blogposts: int = 0
    attachments: int = 0
    labels: int = 0
    restrictions: int = 0
    files_missing: int = 0


class Script:
    """One source, one site, one request at a time."""

    def __init__(self, source: Server, site: ConfluenceCloud) -> None:
        self.source, self.site = source, site
        self.moved = Moved()
        self.ids: dict[str, str] = {}

    def run(self) -> Moved:
        for space in self.source_list("rest/api/space", type="global"):
            made = self.site.post("rest/api/space", data={"key": space["key"], "name": space["name"][:200]})
            self.moved.spaces += 1
            self.space(str(space["key"]), str(made["id"]), str(made["homepage"]["id"]))
        return self.moved

    def source_list(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """A list of the source, page by page until there is no next one."""
        start = 0
        while True:
            page = self.source.get(path, params={**params, "start": start, "limit": PAGE})
            yield from page["results"]
            if "next" not in page.get("_links", {}):
                return
            start += len(page["results"])

    def space(self, key: str, space_id: str, homepage: str) -> None:
        pages = list(self.source_list("rest/api/content", spaceKey=key, type="page", status="current", expand=_EXPAND))
        for page in sorted(pages, key=lambda page: len(page.get("ancestors", []))):
            above = page.get("ancestors", [])
            parent = self.ids.get(str(above[-1]["id"]), homepage) if above else homepage
            self.page(page, space_id, parent)
        for post in self.source_list(
            "rest/api/content", spaceKey=key, type="blogpost", status="current", expand=_EXPAND
        ):
            made = self.site.post(
                "api/v2/blogposts",
                data={"spaceId": space_id, "status": "current", "title": post["title"], "body": _body(post)},
            )
            self.moved.blogposts += 1
            self.details(str(post["id"]), str(made["id"]), post)

    def page(self, page: dict[str, Any], space_id: str, parent: str) -> None:
        found = self.site.get("api/v2/pages", params={"space-id": space_id, "title": page["title"]})["results"]
        if found:
            # The homepage that came with the space has the title already.
            made = overwrite(self.site, str(found[0]["id"]), page["title"], page["body"]["storage"]["value"], 2)
        else:
            made = self.site.create_page(space_id, page["title"], page["body"]["storage"]["value"], parent)
        self.ids[str(page["id"])] = str(made["id"])
        self.moved.pages += 1
        self.details(str(page["id"]), str(made["id"]), page)

    def details(self, source_id: str, id_: str, content: dict[str, Any]) -> None:
        for attachment in self.source_list(f"rest/api/content/{source_id}/child/attachment"):
            path = str(attachment["_links"]["download"])
            try:
                data = self.source.get(path.lstrip("/"), not_json_response=True)
            except HTTPError:
                self.moved.files_missing += 1  # the source lists a file that it no longer has
                continue
            kind = attachment.get("metadata", {}).get("mediaType") or "application/octet-stream"
            self.site.put(
                f"rest/api/content/{id_}/child/attachment",
                headers=NO_CHECK,
                files={"file": (attachment["title"], data, kind), "minorEdit": (None, "true")},
            )
            self.moved.attachments += 1
        labels = content.get("metadata", {}).get("labels", {}).get("results", [])
        names = [{"prefix": "global", "name": label["name"]} for label in labels if label["prefix"] == "global"]
        if names:
            self.site.post(f"rest/api/content/{id_}/label", data=names)
            self.moved.labels += len(names)
        self.restrict(source_id, id_)

    def restrict(self, source_id: str, id_: str) -> None:
        """Whatever is restricted at the source is kept for the one who runs the script; people are mapped by nobody."""
        kinds = [f"{verb}.restrictions.{who}" for verb in ("read", "update") for who in ("user", "group")]
        restrictions = self.source.get(
            f"rest/api/content/{source_id}/restriction/byOperation", params={"expand": ",".join(kinds)}
        )
        wanted = []
        for operation in ("read", "update"):
            inner = restrictions.get(operation, {}).get("restrictions", {})
            if inner.get("user", {}).get("results") or inner.get("group", {}).get("results"):
                me = self.site.get("rest/api/user/current")["accountId"]
                wanted.append(
                    {
                        "operation": operation,
                        "restrictions": {"user": [{"type": "known", "accountId": me}], "group": []},
                    }
                )
        if wanted:
            self.site.put(f"rest/api/content/{id_}/restriction", data=wanted)
            self.moved.restrictions += len(wanted)


def overwrite(site: ConfluenceCloud, id_: str, title: str, body: str, version: int) -> dict[str, Any]:
    """A new version of a page. The library's own ``update_page`` leaves out what the operation requires."""
    document = {
        "id": id_,
        "status": "current",
        "title": title,
        "body": {"representation": "storage", "value": body},
        "version": {"number": version},
    }
    return dict(site.put(f"api/v2/pages/{id_}", data=document))


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"representation": "storage", "value": content["body"]["storage"]["value"]}


def clients(server_url: str, cloud_url: str) -> tuple[Server, ConfluenceCloud]:
    """The library's clients of both sides, with the sandbox's logins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        site = ConfluenceCloud(f"{cloud_url}/wiki", username="migrator@example.com", password="sandbox-token")
        return Server(server_url, username="admin", password="admin", cloud=False), site


@contextmanager
def sandbox(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A sandbox in a process of its own: the addresses of its server and its site."""
    config = {
        "instances": [
            {"name": "old", "kind": "server", "options": {"version": "8.5.0", **options}},
            {"name": "new", "kind": "cloud"},
        ]
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sandbox.json"
        path.write_text(json.dumps(config))
        with subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--config", str(path), "--with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            try:
                assert process.stdout is not None
                told = json.loads(process.stdout.readline())
                urls = {item["name"]: item["url"] for item in told["instances"]}
                yield urls["old"], urls["new"]
            finally:
                process.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.baseline", description=__doc__)
    parser.add_argument("--sample", default="north", help="north or south")
    arguments = parser.parse_args()
    with sandbox({"sample": arguments.sample}) as (server_url, cloud_url):
        began = time.monotonic()
        moved = Script(*clients(server_url, cloud_url)).run()
        seconds = time.monotonic() - began
    print(
        json.dumps(asdict(moved) | {"seconds": round(seconds, 2), "pages_per_second": round(moved.pages / seconds, 1)})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
