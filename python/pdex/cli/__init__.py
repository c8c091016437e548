"""The command line: ``pdex`` or ``python -m pdex``.

It uses the public interface, and nothing imports it. `app.py` is the program: its commands, the
format of its errors, its exit status. Each command is a module with a click command of the same
name, listed in `app.COMMANDS`; `base.py` has what they share.
"""

from pdex.cli.app import main

__all__ = ["main"]
