"""The map from old to new ids, as tables and as rules that web servers take."""

import asyncio
import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.dashboard.domain.redirects import Format, Mapped, written
from shared.confluence.storage import tiny

ROWS = [
    Mapped("space", "1", "9001", "~ann", "Pann3F2A1B"),
    Mapped("page", "98305", "700001", "~ann", "Pann3F2A1B"),
    Mapped("blogpost", "98306", "700002", "~ann", "Pann3F2A1B"),
    Mapped("attachment", "98307", "att700003", "~ann", "Pann3F2A1B"),
    Mapped("comment", "98308", "700004", "~ann", "Pann3F2A1B"),
]
OLD, SITE = "https://wiki.example.com/confluence", "https://new.example.com"
PAGE = "https://new.example.com/wiki/spaces/Pann3F2A1B/pages/700001"


async def document(format: Format, old: str | None = OLD) -> str:
    async def rows() -> AsyncIterator[Mapped]:
        for row in ROWS:
            yield row

    return "".join([piece async for piece in written(format, rows(), old=old, site=SITE)])


async def test_the_table_names_everything_that_moved_with_both_addresses() -> None:
    rows = list(csv.DictReader(io.StringIO(await document("csv"))))
    assert [(row["kind"], row["old_id"], row["new_id"]) for row in rows] == [(r.kind, r.id, r.target) for r in ROWS]
    assert rows[1]["old_url"] == f"{OLD}/pages/viewpage.action?pageId=98305"
    assert rows[1]["new_url"] == PAGE
    assert rows[3]["new_url"] == ""


async def test_the_document_is_json_also_where_the_old_address_is_not_known() -> None:
    entries = json.loads(await document("json", old=None))["entries"]
    assert [entry["new_id"] for entry in entries] == [row.target for row in ROWS]
    assert {entry["old_url"] for entry in entries} == {None}


async def test_apache_finds_each_key_of_its_map_once() -> None:
    lines = [line.split() for line in (await document("apache")).splitlines() if not line.startswith("#")]
    assert all(len(line) == 2 for line in lines)
    found: dict[str, str] = {line[0]: line[1] for line in lines}
    assert len(found) == len(lines)
    assert found["id:98305"] == found[f"x:{tiny.encode(98305)}"] == PAGE
    assert found["id:98306"].endswith("/blog/700002")
    assert found["space:~ann"] == "https://new.example.com/wiki/spaces/Pann3F2A1B"


async def test_nginx_rules_name_each_old_id_and_code_and_close_their_maps() -> None:
    rules = await document("nginx")
    assert len(re.findall(r"^map .*{$", rules, re.MULTILINE)) == len(re.findall(r"^}$", rules, re.MULTILINE)) == 2
    entries = dict(re.findall(r'^  "((?:id|x|space):[^"$]+)" "([^"]+)";$', rules, re.MULTILINE))
    assert entries["id:98305"] == entries[f"x:{tiny.encode(98305)}"] == PAGE
    assert "att700003" not in rules


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on this machine")
async def test_nginx_takes_the_rules_and_redirects_old_addresses(tmp_path: Path) -> None:
    (tmp_path / "map.conf").write_text(await document("nginx"))
    socket = tmp_path / "s"
    server = (
        f"server {{ listen unix:{socket}; if ($cloudward_target) {{ return 301 $cloudward_target; }} return 404; }}"
    )
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{part}_temp_path {tmp_path}/{part};" for part in parts)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}"
        f" http {{ access_log off; {places} include {tmp_path}/map.conf; {server} }}"
    )
    words = ["nginx", "-e", str(tmp_path / "log"), "-c", str(tmp_path / "nginx.conf")]
    tested = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    assert tested.returncode == 0, tested.stderr
    running = subprocess.Popen(words)  # noqa: ASYNC220
    try:
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket), retries=5),
            base_url="http://wiki.example.com/confluence",
        ) as old:
            for _ in range(100):
                if socket.exists():
                    break
                await asyncio.sleep(0.05)
            for address in (
                "/pages/viewpage.action?pageId=98305",
                f"/x/{tiny.encode(98305)}",
                "/spaces/~ann/pages/98305/Some+title",
                "/download/attachments/98305/a%20file.pdf",
            ):
                answer = await old.get(address)
                assert (answer.status_code, answer.headers.get("location")) == (301, PAGE), address
            assert (await old.get("/display/~ann")).headers["location"].endswith("/wiki/spaces/Pann3F2A1B")
            assert (await old.get("/pages/viewpage.action?pageId=1")).status_code == 404
    finally:
        running.terminate()
        running.wait(10)
