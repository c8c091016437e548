"""Run cell-eval on two screens: `python evaluate.py pred.h5ad real.h5ad OUTDIR`.

Prints, as JSON, which pdex it called, and for each metric its mean over the perturbations.
"""

import json
import sys

import pdex
from cell_eval import MetricsEvaluator


def main():
    pred, real, outdir = sys.argv[1:]
    evaluator = MetricsEvaluator(
        adata_pred=pred,
        adata_real=real,
        control_pert="non-targeting",
        pert_col="target",
        outdir=outdir,
        num_threads=2,
    )
    results, _ = evaluator.compute(profile="full", break_on_error=True)
    means = results.drop("perturbation").mean().row(0, named=True)
    print(json.dumps({"pdex": pdex.__file__, "means": means}))


if __name__ == "__main__":
    main()
