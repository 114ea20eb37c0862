"""Print a hash of what an environment is made from: pyproject.toml and Python's version."""

import hashlib
import platform
from pathlib import Path

project = Path(__file__).parents[1] / "pyproject.toml"
print(hashlib.sha256(project.read_bytes() + platform.python_version().encode()).hexdigest())
