"""Where the compiled plugin is, and the one way its functions are registered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polars.plugins import register_plugin_function

from pdex import _pdex

if TYPE_CHECKING:
    import polars as pl

_LIBRARY = Path(str(_pdex.__file__))


def register(name: str, columns: pl.Expr, kwargs: dict[str, Any]) -> pl.Expr:
    """Return the plugin function `name` of a struct of columns as an expression."""
    return register_plugin_function(
        plugin_path=_LIBRARY,
        function_name=name,
        args=[columns],
        kwargs=kwargs,
        is_elementwise=False,
        changes_length=True,
        use_abs_path=True,
    ).alias(name)
