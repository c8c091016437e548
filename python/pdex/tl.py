"""Tools with scanpy's interface, under scanpy's name for them: ``pdex.tl``."""

from pdex._compat.scanpy import rank_genes_groups

__all__ = ["rank_genes_groups"]
