"""``python -m services.planner``"""

from services.planner.app import main
from shared.ops.process import run_service

if __name__ == "__main__":
    run_service("planner", main)
