"""`python -m persuasion_lib` is the command `persuasion`."""

import sys

from persuasion_lib.cli import main

sys.exit(main())
