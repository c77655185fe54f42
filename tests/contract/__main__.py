"""``python -m tests.contract``: drive the stand-ins by the product, a library and generated requests, and judge it all.

Ends with one line of JSON: distinct operations of which a successful and a refused answer were seen and agree with the
documents, and the number of requests judged.
"""

import json
import sys
from pathlib import Path

import pytest

from sandbox.front import Front
from tests.contract.documents import REFERENCE, Documents
from tests.contract.judge import Judge

LEAST_OPERATIONS = 60
_HERE = Path(__file__).parent
_DRIVEN_BY = [_HERE, _HERE.parent / "unit" / "cloud" / "test_with_sandbox.py", _HERE.parent / "unit" / "sandbox_cloud"]


def main() -> int:
    if not REFERENCE.is_dir():
        print("The reference folder beside the checkout is not here: there is nothing to judge by.", file=sys.stderr)
        return 2
    judge = Judge(Documents())
    Front.observers.append(judge.see)
    status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *map(str, _DRIVEN_BY), *sys.argv[1:]])
    print(f"\n{len(judge.validated())} operations with a successful and a refused answer; only successful:")
    print("  " + "\n  ".join(sorted(judge.succeeded - judge.refused)))
    print("only refused:\n  " + "\n  ".join(sorted(judge.refused - judge.succeeded)))
    idle = [item for item in judge.exceptions if not item.needed]
    for item in idle:
        print(f"exception not needed: {item.operation}: {item.problem}")
    for (operation, problem), times in sorted(judge.problems.items()):
        print(f"PROBLEM {operation}: {problem} ({times} times)\n    {judge.examples[operation, problem]}")
    result = judge.result()
    enough = result["operations_validated"] >= LEAST_OPERATIONS
    if not enough:
        print(f"PROBLEM fewer than {LEAST_OPERATIONS} operations")
    print(json.dumps(result, separators=(",", ":")))
    return int(status != 0 or bool(judge.problems) or bool(idle) or not enough)


if __name__ == "__main__":
    sys.exit(main())
