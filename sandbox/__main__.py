"""``python -m sandbox --config FILE.json``: serve what the file says, print the ports as one line of JSON."""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

import uvloop

from sandbox.app import Instance, Sandbox, serve


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A stand-in Confluence on localhost.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file: instances, admin_port, host")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")
    return parser.parse_args()


def _announce(sandbox: Sandbox) -> None:
    sys.stdout.write(json.dumps(sandbox.document()) + "\n")
    sys.stdout.flush()


def _follow_parent() -> None:
    """End with the parent: the other end of standard input closes when it dies, however it dies."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


async def _run(config: dict[str, object], with_parent: bool) -> None:
    raw = config.get("instances")
    if not isinstance(raw, list):
        raise ValueError("the configuration needs a list of instances")
    instances = [Instance(item["name"], item["kind"], item.get("port", 0), item.get("options", {})) for item in raw]
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    if with_parent:
        _follow_parent()
    oauth = config.get("oauth", {})
    if not isinstance(oauth, dict):
        raise ValueError("oauth must be an object")
    await serve(
        instances,
        int(str(config.get("admin_port", 0))),
        str(config.get("host", "127.0.0.1")),
        _announce,
        int(str(config.get("atlassian_port", 0))),
        oauth,
    )


def main() -> int:
    arguments = _arguments()
    try:
        config = json.loads(arguments.config.read_text())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(config, arguments.with_parent))
    except asyncio.CancelledError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"sandbox: {type(error).__name__}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
