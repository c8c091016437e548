"""The package's own errors and warnings.

- :class:`NotFoundError`: an unknown column or layer; a KeyError with a readable message.
- :class:`PdexWarning`: the class of every warning that the package issues.
"""

__all__ = ["NotFoundError", "PdexWarning"]


class NotFoundError(KeyError):
    """A column or a layer that does not exist.

    It is a KeyError, so ``except KeyError`` catches it, but it shows its message as it was written.
    Python's own KeyError shows the message quoted and escaped.

    Examples
    --------
    >>> from pdex.exceptions import NotFoundError
    >>> print(NotFoundError("obs has no column 'targt'. Did you mean 'target'?"))
    obs has no column 'targt'. Did you mean 'target'?
    """

    def __str__(self) -> str:
        """Return the message as it was written."""
        return str(self.args[0]) if self.args else ""


class PdexWarning(UserWarning):
    """A warning about something that affects a result and that its reader should know.

    Examples are a doubtful guess, targets that were left out, or names that were changed.

    Examples
    --------
    >>> import warnings, pdex
    >>> from pdex.exceptions import PdexWarning
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always", PdexWarning)
    ...     result = pdex.de(screen, "target", min_cells=100)
    >>> print(seen[0].message)
    left out 2 groups of obs['target'] with fewer than 100 cells: 'T001', 'T002'
    """
