"""Lets the tests here import the fault run's own modules, which `make test-faults` runs as a program."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
