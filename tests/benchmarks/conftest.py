"""Protocols that ``ci/gpu`` measures by, too, lie beside it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "ci"))
