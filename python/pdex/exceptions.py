"""The package's own errors.

- :class:`NotFoundError`: an unknown column or layer, a KeyError whose text reads as it was written.
"""

__all__ = ["NotFoundError"]


class NotFoundError(KeyError):
    """There is no column, or no layer, of a name.

    A KeyError, so that ``except KeyError`` works; Python's own shows its text quoted and escaped.

    Examples
    --------
    >>> from pdex.exceptions import NotFoundError
    >>> print(NotFoundError("'targt' is no column of obs: did you mean 'target'?"))
    'targt' is no column of obs: did you mean 'target'?
    """

    def __str__(self) -> str:
        """Return the text as it was written."""
        return str(self.args[0]) if self.args else ""
