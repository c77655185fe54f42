"""``python -m services.dashboard``"""

from services.dashboard.app import serve
from shared.ops.process import run_service

if __name__ == "__main__":
    run_service("dashboard", serve)
