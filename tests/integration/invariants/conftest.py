"""Lets the machine here import its model and its rig."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
