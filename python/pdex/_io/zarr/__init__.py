"""Zarr stores as sources of screens: version 2 and 3, sharded or not, on disk and elsewhere.

zarr-python reads the chunks, with the codec pipeline, the threads and the number of requests at
once that its own configuration names (``zarr.config``): all of these belong to the process, and
are left as they are. It is imported only when a Zarr store is opened.
"""
