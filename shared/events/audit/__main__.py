"""The sealer as a process: ``python -m shared.events.audit``; also ``cloudward audit seal --every SECONDS``."""

from shared.events.audit.service import main
from shared.ops.process import run_service

if __name__ == "__main__":
    run_service("sealer", main)
