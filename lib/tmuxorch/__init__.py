"""tmuxorch: the library under the tmo-* commands."""

import os
import sys

__version__ = "0.1.0"

# A checkout after `make setup`: libtmux and psutil are in its .venv, whichever python3 runs the command.
_packages = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))),
    f".venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages",
)
if _packages not in sys.path and os.path.isdir(_packages):
    sys.path.append(_packages)
