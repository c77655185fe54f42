"""``sandbox``: stand-ins of Confluence Server, Data Center and Cloud on this machine, with sample or generated content."""

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import USAGE, CliError

#: What `up --sandbox` serves: two servers with sample content, and a site to move to that has one of their keys already.
SAMPLE: dict[str, Any] = {
    "instances": [
        {"name": "cloud", "kind": "cloud", "options": {"spaces": ["OPS"]}},
        {"name": "north", "kind": "server", "options": {"version": "8.5.6", "sample": "north"}},
        {"name": "south", "kind": "server", "options": {"version": "7.19.0", "sample": "south"}},
    ]
}
MODES = ("classic", "roles")

app = typer.Typer(help="A stand-in Confluence on this machine.", no_args_is_help=True)

SeedOption = Annotated[int, typer.Option(help="The same seed and sizes give the same content, byte for byte.")]
SpacesOption = Annotated[int, typer.Option(min=1, help="Spaces of each server.")]
PagesOption = Annotated[int, typer.Option(min=1, help="Pages of each server, in all its spaces.")]
AttachmentsOption = Annotated[
    int | None, typer.Option(min=0, help="Attachments of each server.  [default: as many as pages]")
]
UsersOption = Annotated[int, typer.Option(min=1, help="Users of each server.")]


def register(cloudward: typer.Typer) -> None:
    cloudward.add_typer(app, name="sandbox")


def scale(spaces: int, pages: int, attachments: int | None, users: int) -> dict[str, int]:
    """Arguments of ``sandbox.sample.generate``. Half as many comments as pages."""
    files = pages if attachments is None else attachments
    return {"spaces": spaces, "pages": pages, "attachments": files, "users": users, "comments": pages // 2}


def configuration(servers: list[str], clouds: list[str], seed: int, size: dict[str, int]) -> dict[str, Any]:
    """What to serve: a server of each version, each with a seed of its own counted up from ``seed``, and a site of each mode."""
    from sandbox.versions import Version

    instances: list[dict[str, Any]] = []
    names: Counter[str] = Counter()

    def add(kind: str, name: str, options: dict[str, Any]) -> None:
        names[name] += 1
        unique = name if names[name] == 1 else f"{name}-{names[name]}"
        instances.append({"name": unique, "kind": kind, "options": options})

    for number, text in enumerate(servers):
        try:
            version = Version(text)
        except ValueError:
            raise CliError(f"{text} is no version", "", "Give it as 8.5 or 8.5.6.", code=USAGE) from None
        if not version.has("rest"):
            raise CliError(f"There is no stand-in of {text}", "it has no REST", "Give 5.5 or later.", code=USAGE)
        add("server", f"server-{text}", {"version": version.text, "seed": seed + number, "generate": size})
    for mode in clouds:
        if mode not in MODES:
            raise CliError(f"{mode} is no kind of site", "", f"Give one of {', '.join(MODES)}.", code=USAGE)
        add("cloud", f"cloud-{mode}", {"mode": mode})
    return {"instances": instances}


@app.command("serve")
def serve(
    config: Annotated[
        Path | None, typer.Option(help="JSON file as in sandbox/README.md, instead of all other options.")
    ] = None,
    server: Annotated[
        list[str] | None, typer.Option("--server", help="A server of this version, with generated content; repeatable.")
    ] = None,
    cloud: Annotated[
        list[str] | None, typer.Option("--cloud", help="An empty site: classic or roles; repeatable.")
    ] = None,
    seed: SeedOption = 7,
    spaces: SpacesOption = 10,
    pages: PagesOption = 200,
    attachments: AttachmentsOption = None,
    users: UsersOption = 50,
) -> None:
    """Serve stand-ins of Confluence Server and Cloud until Ctrl-C; prints their addresses as one line of JSON.

    Without options: two servers with sample content and a site, as `up --sandbox`.
    """
    if config is not None and (server or cloud):
        raise CliError("--config says all there is to serve", "", "Leave --server and --cloud away.", code=USAGE)
    if config is None:
        wanted = SAMPLE
        if server or cloud:
            wanted = configuration(server or [], cloud or [], seed, scale(spaces, pages, attachments, users))
        handle, name = tempfile.mkstemp(prefix="cloudward-sandbox-", suffix=".json")
        with os.fdopen(handle, "w") as file:
            json.dump(wanted, file)
        config = Path(name)
    elif not config.is_file():
        raise CliError(f"There is no file {config}", "", "Give a configuration with --config.", code=USAGE)
    # Nothing of this process is needed any more.
    os.execv(sys.executable, [sys.executable, "-m", "sandbox", "--config", str(config)])


@app.command("export")
def export(
    server: Annotated[str, typer.Option("--server", help="Version whose exports it is to look like.")],
    out: Annotated[Path, typer.Option(help="File to write, a zip.")],
    space: Annotated[
        list[str] | None,
        typer.Option("--space", help="Key of a space, for an export of spaces; repeatable. Default: the site."),
    ] = None,
    seed: SeedOption = 7,
    spaces: SpacesOption = 10,
    pages: PagesOption = 200,
    attachments: AttachmentsOption = None,
    users: UsersOption = 50,
    sample: Annotated[str | None, typer.Option(help="north or south: the sample content instead of generated.")] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="One space in the CSV form of Confluence Cloud instead of XML.")
    ] = False,
) -> None:
    """Write the content that `sandbox serve` with the same options has as an XML export, as that version writes it."""
    from rich.progress import Progress as Bar

    from cli import render
    from sandbox.export import write_csv_export, write_export
    from sandbox.sample import generate
    from sandbox.sample import sample as sample_of
    from sandbox.versions import Version

    config = configuration([server], [], seed, scale(spaces, pages, attachments, users))
    options = config["instances"][0]["options"]
    if sample not in {None, "north", "south"}:
        raise CliError(f"There is no sample {sample}", "", "Give north or south.", code=USAGE)
    instance = (
        sample_of(seed, "south" if sample == "south" else "north") if sample else generate(seed, **options["generate"])
    )
    if unknown := sorted(set(space or ()) - set(instance.spaces)):
        known = ", ".join(list(instance.spaces)[:12])
        raise CliError(f"There is no space {unknown[0]}", "", f"The spaces are {known} …", code=USAGE)
    if csv and len(space or ()) != 1:
        raise CliError("A CSV export holds one space", "", "Name it with --space.", code=USAGE)
    try:
        with out.open("wb") as file, Bar(console=render.err, transient=True) as bar:
            task = bar.add_task("writing", total=None)
            for progress in (
                write_csv_export(instance, file, space=space[0])
                if csv and space
                else write_export(instance, Version(server), file, spaces=space)
            ):
                bar.update(task, completed=progress.done, total=progress.total)
    except OSError as error:
        raise CliError(
            f"{out} cannot be written", error.strerror or str(error), "Choose another file with --out."
        ) from error
    typer.echo(str(out))
