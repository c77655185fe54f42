"""The stand-in's answers have what recorded answers of real instances have."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_aiohttp
import pytest

from tests.unit.sandbox_server.serving import instance, serving

#: Recorded, but not part of what a migration reads.
LEFT_OUT = {
    "relevantViewRestrictions",
    "webresource",
    "excerpt",
    "iconCssClass",
    "friendlyLastModified",
    "timestamp",
    "resultGlobalContainer",
}


def shape(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Each path with the kind of value that is there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in LEFT_OUT:
                yield from shape(inner, f"{at}.{key}")
    else:
        yield at, type(value).__name__


@pytest.mark.parametrize(
    ("name", "version", "kind", "expand"),
    [
        (
            "dc8-search-result-page-with-storage-body.json",
            "8.5.6",
            "page",
            "content.space,content.history,content.body.storage,content.container",
        ),
        ("dc9-attachment-with-container-version.json", "9.2.1", "attachment", "version,container"),
        ("server7-content-by-id-minimal.json", "7.19.0", "page", "version,body.editor"),
    ],
)
async def test_a_recorded_answer_has_no_field_that_is_missing_here(
    reference: Path, name: str, version: str, kind: str, expand: str
) -> None:
    recorded = json.loads((reference / "recordings" / "dc-samples-transcribed" / name).read_text())
    app = instance(version)
    held = next(
        c for c in app.state.instance.contents.values() if c.kind == kind and (kind != "page" or c.position is None)
    )
    headers = {"Authorization": "Bearer sandbox-pat"}
    async with (
        serving(app) as url,
        httpx.AsyncClient(base_url=url, headers=headers, transport=httpx_aiohttp.AiohttpTransport()) as client,
    ):
        if "content" in recorded:
            answer = await client.get("/rest/api/search", params={"cql": f"id={held.id}", "expand": expand})
            given = answer.json()["results"][0]
        else:
            given = (await client.get(f"/rest/api/content/{held.id}", params={"expand": expand})).json()
    here = dict(shape(given))
    for path, told in shape(recorded):
        if path in {".space.key", ".extensions.position", ".content.extensions.position"}:
            continue
        assert path in here, path
        assert here[path] == told, path
