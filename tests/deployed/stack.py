"""``compose.yaml`` with a real engine, under a project of its own."""

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

from cli.client import Client
from tests.deployed.trial import ASK, Trial

ROOT = Path(__file__).parents[2]
QUICK = Path(__file__).with_name("quick.yaml")
SERVICES = ("planner", "analyzer", "executor", "dashboard", "sealer")
# What an image is made of. A commit that touches none of it makes the same image.
IN_THE_IMAGE = ("shared", "services", "cli", "sandbox", "Dockerfile", "pyproject.toml", "requirements/image.txt")


class Stack:
    """``image``: of what is started next; services that run keep theirs."""

    def __init__(self, port: int, project: str, image: str) -> None:
        self.port, self.image = port, image
        self._environment = {**os.environ, "CLOUDWARD_PORT": str(port), "COMPOSE_PROJECT_NAME": project}

    def compose(self, *words: str, check: bool = True, timeout: float = 600, given: str | None = None) -> str:
        done = subprocess.run(
            ["docker", "compose", "-f", "compose.yaml", "-f", str(QUICK), "--profile", "sandbox", *words],
            cwd=ROOT,
            env={**self._environment, "CLOUDWARD_IMAGE": self.image},
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def containers(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.compose("ps", "--all", "--format", "json").splitlines()]

    def up(self, *services: str) -> None:
        """Starts all, or brings some to ``image`` and leaves the others alone; waits until they are healthy."""
        some = ["--no-deps", *services] if services else []
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", "240", "--no-build", *some)
        except AssertionError:
            print(self.compose("ps", "--all", check=False), self.compose("logs", "--tail", "30", check=False))
            raise

    def client(self) -> Client:
        """The API from outside, with the token that the stack made."""
        token = self.compose("exec", "-T", "dashboard", "cat", "/secrets/api-token").strip()
        return Client(f"http://127.0.0.1:{self.port}", token, patience=60)

    def trial(self, client: Client) -> Trial:
        return Trial(client, lambda given: self.compose("exec", "-T", "sandbox", *ASK, given=given))


def build(image: str, commit: str | None = None) -> None:
    """The image of the working tree, or of a commit."""
    words = ["docker", "build", "--quiet", "--tag", image]
    if commit is None:
        subprocess.run([*words, str(ROOT)], check=True, timeout=800, stdout=subprocess.DEVNULL)
        return
    archive = subprocess.run(
        ["git", "-c", "tar.umask=0022", "archive", commit], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        assert "Dockerfile" in found.getnames()
    subprocess.run([*words, "-"], input=archive, check=True, timeout=800, stdout=subprocess.DEVNULL)


def release_before() -> str:
    """The commit whose services run beside this one's: CLOUDWARD_UPGRADE_FROM, or the last one but one that changed the image."""
    told = os.environ.get("CLOUDWARD_UPGRADE_FROM")
    words = ["git", "rev-parse", told] if told else ["git", "log", "-2", "--format=%H", "--", *IN_THE_IMAGE]
    found = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert found, "there is no commit before this one"
    return found[-1]
