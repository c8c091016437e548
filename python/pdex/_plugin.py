"""The path of the compiled plugin, and the registration of its functions with Polars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polars.plugins import register_plugin_function

from pdex import _pdex

if TYPE_CHECKING:
    import polars as pl

_LIBRARY = Path(str(_pdex.__file__))


def register(name: str, columns: list[pl.Expr], kwargs: dict[str, Any]) -> pl.Expr:
    """Return the plugin function `name` of a struct, or of values and a struct, as an expression.

    If the library is below ``sys.prefix``, Polars stores its path relative to that folder, so an
    expression that is unpickled in another environment finds the library there.
    """
    return register_plugin_function(
        plugin_path=_LIBRARY,
        function_name=name,
        args=columns,
        kwargs=kwargs,
        is_elementwise=False,
        changes_length=True,
    )
