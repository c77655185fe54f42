"""``cloudward`` in a process of its own, with all that it leaves behind looked at like what tests start themselves.

    python -m tests.watched WORDS...

What the scan (``tests.privacy``) finds goes to the test run that started it, by the folder that CLOUDWARD_TEST_FOUND names.
"""

import os
import sys
from pathlib import Path

from cli.main import main
from tests.privacy import SCAN

#: How tests start the command line.
CLOUDWARD = (sys.executable, "-m", "tests.watched")


def run() -> None:
    try:
        with SCAN.watching(every_message=False):
            main()
    finally:
        if folder := os.environ.get("CLOUDWARD_TEST_FOUND"):
            (Path(folder) / f"{os.getpid()}.json").write_text(SCAN.kept())


if __name__ == "__main__":
    run()
