"""The map from old to new ids, as people and web servers read it: CSV, JSON, nginx, Apache. Pure: rows in, lines out."""

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from shared.confluence.storage import tiny

Format = Literal["csv", "json", "nginx", "apache"]
MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "nginx": "text/plain; charset=utf-8",
    "apache": "text/plain; charset=utf-8",
}
_PLACES = {"page": "pages", "blogpost": "blog"}


@dataclass(frozen=True, slots=True)
class Mapped:
    """One entity that moved. ``old_key``, ``new_key``: of its space at the source and on the site."""

    kind: str
    id: str
    target: str
    old_key: str
    new_key: str

    def address(self, site: str) -> str | None:
        """Where it is on the site; None of what has no address of its own."""
        base = f"{site.rstrip('/')}/wiki/spaces/{quote(self.new_key)}"
        if self.kind == "space":
            return base
        return f"{base}/{_PLACES[self.kind]}/{self.target}" if self.kind in _PLACES else None


def old_address(base: str, mapped: Mapped) -> str | None:
    if mapped.kind == "space":
        return f"{base}/display/{quote(mapped.old_key, safe='~')}"
    return f"{base}/pages/viewpage.action?pageId={mapped.id}" if mapped.kind in _PLACES else None


async def written(format: Format, rows: AsyncIterator[Mapped], *, old: str | None, site: str) -> AsyncIterator[str]:
    """The document in pieces. ``old``: base URL of the source, None where it is not known (exports); ``site``: the site's."""
    base = (old or "").rstrip("/")
    writer = {"csv": _csv, "json": _json, "nginx": _nginx, "apache": _apache}[format]
    async for piece in writer(rows, base, site):
        yield piece


async def _csv(rows: AsyncIterator[Mapped], base: str, site: str) -> AsyncIterator[str]:
    yield _line("kind", "old_id", "new_id", "old_space", "new_space", "old_url", "new_url")
    async for row in rows:
        urls = (old_address(base, row) if base else None, row.address(site))
        yield _line(row.kind, row.id, row.target, row.old_key, row.new_key, *(url or "" for url in urls))


def _line(*cells: str) -> str:
    out = io.StringIO()
    # A sheet takes what begins so for a formula.
    csv.writer(out).writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell for cell in cells])
    return out.getvalue()


async def _json(rows: AsyncIterator[Mapped], base: str, site: str) -> AsyncIterator[str]:
    yield '{"entries":['
    comma = ""
    async for row in rows:
        entry = {
            "kind": row.kind,
            "old_id": row.id,
            "new_id": row.target,
            "old_space": row.old_key,
            "new_space": row.new_key,
            "old_url": old_address(base, row) if base else None,
            "new_url": row.address(site),
        }
        yield comma + json.dumps(entry)
        comma = ",\n"
    yield "]}\n"


async def _nginx(rows: AsyncIterator[Mapped], base: str, site: str) -> AsyncIterator[str]:
    """Two maps for the ``http`` block: what an address asks for, and where that is now."""
    context = _context(base)
    yield (
        "# From the old wiki to the new one. Include this file in the http block, and in the old wiki's server block say:\n"
        "#   if ($cloudward_target) { return 301 $cloudward_target; }\n"
        "map_hash_max_size 1048576;\n"
        "map_hash_bucket_size 256;\n"
        "map $uri $cloudward_asked {\n"
        '  default "id:$arg_pageId";\n'
        f'  "~^{context}/spaces/[^/]+/(?:pages|blog/[0-9/]+)/(?<cloudward_id>[0-9]+)" "id:$cloudward_id";\n'
        f'  "~^{context}/download/(?:attachments|thumbnails)/(?<cloudward_file>[0-9]+)/" "id:$cloudward_file";\n'
        f'  "~^{context}/x/(?<cloudward_code>[A-Za-z0-9_-]+)/?$" "x:$cloudward_code";\n'
        f'  "~^{context}/(?:display|spaces)/(?<cloudward_space>[^/]+)/?$" "space:$cloudward_space";\n'
        "}\n"
        "map $cloudward_asked $cloudward_target {\n"
        '  default "";\n'
    )
    async for row in rows:
        for key, url in _keys(row, site):
            yield f'  "{_nginx_text(key)}" "{_nginx_text(url)}";\n'
    yield "}\n"


def _nginx_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "%24")


async def _apache(rows: AsyncIterator[Mapped], base: str, site: str) -> AsyncIterator[str]:
    """A text map for mod_rewrite; the rules that ask it are in its head."""
    context = _context(base).replace("\\", "")
    yield (
        "# From the old wiki to the new one: a map for Apache's mod_rewrite. Keep it as /etc/apache2/cloudward.txt and put this\n"
        "# into the old wiki's virtual host (httxt2dbm makes a faster one of it):\n"
        "#   RewriteEngine On\n"
        "#   RewriteMap cloudward txt:/etc/apache2/cloudward.txt\n"
        "#   RewriteCond %{QUERY_STRING} (?:^|&)pageId=([0-9]+)\n"
        "#   RewriteCond ${cloudward:id:%1} ^(.+)$\n"
        "#   RewriteRule ^ %1 [R=301,L,QSD]\n"
        f"#   RewriteCond %{{REQUEST_URI}} ^{context}/spaces/[^/]+/(?:pages|blog/[0-9/]+)/([0-9]+)\n"
        "#   RewriteCond ${cloudward:id:%1} ^(.+)$\n"
        "#   RewriteRule ^ %1 [R=301,L,QSD]\n"
        f"#   RewriteCond %{{REQUEST_URI}} ^{context}/download/(?:attachments|thumbnails)/([0-9]+)/\n"
        "#   RewriteCond ${cloudward:id:%1} ^(.+)$\n"
        "#   RewriteRule ^ %1 [R=301,L,QSD]\n"
        f"#   RewriteCond %{{REQUEST_URI}} ^{context}/x/([A-Za-z0-9_-]+)/?$\n"
        "#   RewriteCond ${cloudward:x:%1} ^(.+)$\n"
        "#   RewriteRule ^ %1 [R=301,L,QSD]\n"
        f"#   RewriteCond %{{REQUEST_URI}} ^{context}/(?:display|spaces)/([^/]+)/?$\n"
        "#   RewriteCond ${cloudward:space:%1} ^(.+)$\n"
        "#   RewriteRule ^ %1 [R=301,L,QSD]\n"
    )
    async for row in rows:
        for key, url in _keys(row, site):
            yield f"{key} {url}\n"


def _keys(row: Mapped, site: str) -> list[tuple[str, str]]:
    """What an old address may ask for, each with where that is now."""
    url = row.address(site)
    if url is None:
        return []
    if row.kind == "space":
        return [(f"space:{row.old_key}", url)]
    codes = [f"x:{tiny.encode(int(row.id))}"] if row.id.isdecimal() and int(row.id) < 1 << 63 else []
    return [(key, url) for key in (f"id:{row.id}", *codes)]


def _context(base: str) -> str:
    """The path under which the old wiki lies, as part of a regular expression."""
    return urlsplit(base).path.rstrip("/").replace(".", "\\.")
