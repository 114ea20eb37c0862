"""``python -m gptfl_bench`` is ``gptfl-bench``."""

import sys

from gptfl_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
