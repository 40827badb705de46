"""The entry written into a client's file: `PYTHON -I -S …/mcpctl/entry.py NAME`.

`-I -S` skips the start-up work of `site`; that leaves the package's own folder to be found by hand. Kept tiny,
because a script named on the command line is compiled anew at each start, while what it imports is cached.
"""

import sys

sys.path.insert(0, __file__.rpartition("/mcpctl/")[0])

from mcpctl.attach import main

sys.exit(main(["attach", *sys.argv[1:]]))
