"""``python -m services.analyzer``"""

from services.analyzer.app import main
from shared.ops.process import run_service

if __name__ == "__main__":
    run_service("analyzer", main)
