"""The path of the compiled plugin, and the registration of its functions with Polars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.plugins import register_plugin_function

from pdex import _pdex

if TYPE_CHECKING:
    from typing import Any

_LIBRARY = Path(str(_pdex.__file__))


def as_expression(name: str, columns: list[pl.Expr], kwargs: dict[str, Any]) -> pl.Expr:
    """Return the test `name` of a struct, or of values and a struct, as an expression.

    To Polars, a test is an elementwise function of lists: so it is called with those of many groups
    at once. A call for each group would cost more than its test.

    If the library is below ``sys.prefix``, Polars stores its path relative to that folder, so an
    expression that is unpickled in another environment finds the library there.
    """
    lists = register_plugin_function(
        plugin_path=_LIBRARY,
        function_name=name,
        args=[*(column.implode() for column in columns), _in_group()],
        kwargs=kwargs,
        is_elementwise=True,
    )
    return lists.explode(empty_as_null=False)


def _in_group() -> pl.Expr:
    """Return whether it is evaluated for the groups of a ``group_by`` or ``over``.

    Polars calls the function once for each group, with a column that has no name there.
    """
    return register_plugin_function(
        plugin_path=_LIBRARY, function_name="in_group", args=pl.len(), returns_scalar=True
    )
