"""Run a screen on the workers of a Dask cluster, with the same results as on one machine.

Three kinds of tasks follow each other, each of which reads and writes files in a folder that all
workers see. Through the scheduler go the names of files only:

1. *count*: the cells of a file, or of a part of it, to a file of counts;
2. *test*: a block of genes, from the counts of all cells, to a share of the numbers;
3. *collect*: the numbers of some targets, from all shares, to a part of the result.

Tasks are pure: one that is run twice, or again after its worker was lost, writes the same file. A
file appears when it is whole, under a name that says what it was made of, so that a call that was
cut short goes on from the files that are there.
"""
