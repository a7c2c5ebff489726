"""`python -m jackfield` is `jackfield`."""

import sys

from jackfield.app.cli import main

sys.exit(main())
