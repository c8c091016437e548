"""Tools with scanpy's interface; like scanpy's, their module is called ``tl``."""

from pdex._compat.scanpy import rank_genes_groups

__all__ = ["rank_genes_groups"]
