"""``python -m learned_descent`` is the program ``learned-descent``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
