"""An extension of griffe: parameters that a docstring names together keep a type each.

Griffe gives all of ``groups, genes`` the first one's annotation, and ``**options`` a default.
"""

from __future__ import annotations

from typing import Any

import griffe


class Signatures(griffe.Extension):
    """Take annotations and defaults of documented parameters from the signature, by name."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Mend one function."""
        if func.docstring is None:
            return
        for section in func.docstring.parsed:
            if section.kind is griffe.DocstringSectionKind.parameters:
                for described in section.value:
                    name = described.name.lstrip("*")
                    if name not in func.parameters:  # which griffe warns of
                        continue
                    known = func.parameters[name]
                    described.annotation = known.annotation
                    described.value = None if described.name.startswith("*") else known.default
