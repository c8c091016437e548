"""The command line: ``pdex`` or ``python -m pdex``. Imports all of the face; nothing imports it.

`app.py` is the program: its commands, how errors look, what it exits with. A command is a module
with a click command of its name, listed in `app.COMMANDS`; `base.py` has what they share.
"""

from pdex.cli.app import main

__all__ = ["main"]
