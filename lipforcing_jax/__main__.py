"""`python -m lipforcing_jax` is the `lipforcing` command."""

import sys

from lipforcing_jax.cli import main

sys.exit(main())
