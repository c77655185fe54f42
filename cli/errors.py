"""What went wrong, why, and what a person can do next; and the exit codes of the command line.

0 done; 1 failed, or sums or a log that do not agree; 2 wrong usage; 3 a plan failed or was stopped; 69 the dashboard,
the database or NATS is away or refuses; 78 settings are wrong; 130 interrupted.
"""

OK = 0
FAILED = 1
USAGE = 2
PLAN_ENDED_BADLY = 3
UNAVAILABLE = 69
MISCONFIGURED = 78
INTERRUPTED = 130


class CliError(Exception):
    """Ends the command with ``code`` and the three parts as text instead of a traceback."""

    def __init__(self, what: str, why: str = "", way_on: str = "", *, code: int = FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.way_on = way_on
        self.code = code
