"""``sandbox serve`` and ``sandbox export``: what is asked for is served or written, and what makes no sense is refused."""

import asyncio
import hashlib
import json
import re
import sys
import zipfile
from itertools import islice
from pathlib import Path

import httpx
import httpx_aiohttp
import pytest
from typer.testing import CliRunner

from cli.errors import USAGE, CliError
from cli.sandbox import app, configuration, scale
from sandbox.app import Instance, Sandbox
from sandbox.sample import generate

SERVERS = ["5.10", "6.13", "7.19", "8.5", "10.0"]
SMALL = ["--spaces", "3", "--pages", "20", "--users", "9"]


async def test_one_process_serves_servers_of_several_versions_and_sites_of_both_modes() -> None:
    config = configuration(SERVERS, ["classic", "roles"], 7, scale(4, 30, None, 9))
    instances = [Instance(i["name"], i["kind"], 0, i["options"]) for i in config["instances"]]
    assert [i.name for i in instances] == [*(f"server-{v}" for v in SERVERS), "cloud-classic", "cloud-roles"]
    titles: set[str] = set()
    async with Sandbox(instances) as sandbox, httpx.AsyncClient(transport=httpx_aiohttp.AiohttpTransport()) as client:
        for version in SERVERS:
            url = sandbox.url(f"server-{version}")
            assert f"<version>{version}.0</version>" in (await client.get(f"{url}/rest/applinks/1.0/manifest")).text
            pages = await client.get(f"{url}/rest/api/content?limit=100", auth=("admin", "admin"))
            titles.add(repr([row["title"] for row in pages.json()["results"]]))
            assert pages.json()["size"] == 30
        for mode in ("classic", "roles"):
            token = ("migrator@example.com", "sandbox-token")
            answer = await client.get(f"{sandbox.url(f'cloud-{mode}')}/wiki/api/v2/spaces", auth=token)
            assert answer.status_code == 200
    assert len(titles) == len(SERVERS), "each server has a seed of its own"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
async def test_five_servers_of_5000_pages_and_two_sites_take_little_memory_and_are_the_same_in_every_process() -> None:
    words = [word for version in SERVERS for word in ("--server", version)]
    words += ["--cloud", "classic", "--cloud", "roles", "--seed", "7", "--spaces", "50", "--pages", "5000"]
    command = str(Path(sys.executable).with_name("cloudward"))
    process = await asyncio.create_subprocess_exec(command, "sandbox", "serve", *words, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        assert len(told["instances"]) == 7
        url = next(each["url"] for each in told["instances"] if each["name"] == "server-10.0")
        query = "/rest/api/content?type=page&start=4900&limit=100&expand=body.storage"
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            rows = (await client.get(url + query, auth=("admin", "admin"))).json()["results"]
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])
        assert peak < 400 * 1024
    finally:
        process.terminate()
        await process.wait()
    here = generate(7 + SERVERS.index("10.0"), **scale(50, 5000, None, 50))
    wanted = islice(here.current("page", None, 4900), 50)  # with bodies a list is cut at 50
    ours = {str(content.id): (content.title, here.body(content, url)) for content in wanted}
    assert {row["id"]: (row["title"], row["body"]["storage"]["value"]) for row in rows} == ours


@pytest.mark.parametrize(
    ("servers", "clouds"), [(["eight"], []), (["4.3"], []), (["8.5"], ["premium"]), ([], ["classic", ""])]
)
def test_what_there_is_no_stand_in_of_is_refused(servers: list[str], clouds: list[str]) -> None:
    with pytest.raises(CliError) as refused:
        configuration(servers, clouds, 7, scale(1, 1, 0, 1))
    assert refused.value.code == USAGE
    assert refused.value.way_on


def test_an_export_is_the_same_file_twice_and_another_with_another_seed(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        out = tmp_path / f"{name}.zip"
        result = CliRunner().invoke(app, ["export", "--server", "8.5", "--out", str(out), "--seed", seed, *SMALL])
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{out}\n"
        digests.append(hashlib.sha256(out.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {"entities.xml", "exportDescriptor.properties"} <= set(archive.namelist())
        assert b"exportType=all" in archive.read("exportDescriptor.properties")


def test_a_csv_export_holds_one_space_and_says_so(tmp_path: Path) -> None:
    arguments = ["export", "--server", "8.5", "--sample", "north", "--csv", "--out", str(tmp_path / "x.zip")]
    result = CliRunner().invoke(app, [*arguments, "--space", "SKY"])
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert {"content.csv.gz", "bodycontent.csv.gz", "exportDescriptor.properties"} <= set(archive.namelist())
        assert b"exportFormat=csv" in archive.read("exportDescriptor.properties")
    for spaces in ([], ["--space", "SKY", "--space", "OPS"]):
        refused = CliRunner().invoke(app, [*arguments, *spaces])
        assert isinstance(refused.exception, CliError)
        assert "--space" in refused.exception.way_on


def test_an_export_of_a_space_that_is_not_there_is_refused_and_names_those_that_are(tmp_path: Path) -> None:
    arguments = ["export", "--server", "8.5", "--sample", "north", "--space", "NOPE", "--out", str(tmp_path / "x.zip")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, CliError)
    assert "SKY" in result.exception.way_on
    assert not (tmp_path / "x.zip").exists()
