"""``python -m services.executor``"""

from services.executor.app import main
from shared.ops.process import run_service

if __name__ == "__main__":
    run_service("executor", main)
