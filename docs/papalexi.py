"""The numbers and the picture of docs/papalexi.md: `python docs/papalexi.py [path.h5ad]`.

Prints five sections: genes changed, on-target effect, depth, null check, clustering.
Everything random is seeded; the output is the same on every run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numpy as np
import pdex
import polars as pl
from scipy import sparse, stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "papalexi_thp1_screen.h5ad"
REFERENCE = "non-targeting"
PATHWAY = ("IFNGR1", "IFNGR2", "JAK2", "STAT1")
FDR, EQUAL_CELLS, DRAWS, SHUFFLES = 0.05, 250, 20, 100
MARK = "#00695C"
ASYMPTOTIC = "anderson asymptotic"


def compare(
    data: ad.AnnData | Path, name: str = "wilcoxon", reference: str = REFERENCE
) -> pl.DataFrame:
    """Every target against the reference, labels as strings; `name` is a test and its method."""
    test, _, method = name.partition(" ")
    result = pdex.de(data, "target", test=test, reference=reference, method=method or None)
    return result.with_columns(pl.col("target", "feature").cast(pl.String))


def relabel(cells: ad.AnnData, labels: np.ndarray) -> ad.AnnData:
    """The same counts under other labels."""
    return ad.AnnData(cells.X, obs={"target": labels.astype(str)}, var=cells.var)


def table(head: str, rows: list[list[object]]) -> None:
    """Print a Markdown table: text to the left, numbers to the right."""
    names = head.split("|")
    print("|", " | ".join(names), "|")
    print("|", " | ".join(["---"] + ["---:"] * (len(names) - 1)), "|")
    for row in rows:
        print("|", " | ".join(map(str, row)), "|")


def hits(result: pl.DataFrame) -> dict[str, int]:
    """Genes below the FDR limit, for each target."""
    counts = result.group_by("target").agg((pl.col("fdr") < FDR).sum())
    return dict(counts.iter_rows())


# 1. genes changed


def equal_cells(cells: ad.AnnData) -> dict[str, float]:
    """Median number of genes changed when each target has at most 250 cells."""
    groups = cells.obs.groupby("target", observed=True).indices
    draws = []
    for seed in range(DRAWS):
        rng, keep = np.random.default_rng(seed), [groups[REFERENCE]]
        for target in sorted(set(groups) - {REFERENCE}):
            index = groups[target]
            keep.append(rng.choice(index, min(EQUAL_CELLS, len(index)), replace=False))
        draws.append(hits(compare(cells[np.sort(np.concatenate(keep))].copy())))
    return {t: float(np.median([d[t] for d in draws])) for t in draws[0]}


def by_direction(result: pl.DataFrame) -> pl.DataFrame:
    """Genes down and up for each target, by the sign of z, most first."""
    found = pl.col("fdr") < FDR
    return (
        result.group_by("target")
        .agg(
            pl.first("n_target"),
            (found & (pl.col("z_score") < 0)).sum().alias("down"),
            (found & (pl.col("z_score") > 0)).sum().alias("up"),
        )
        .sort(-(pl.col("down").cast(int) + pl.col("up").cast(int)), "target")
    )


def genes_changed(path: Path, cells: ad.AnnData, raw: pl.DataFrame) -> None:
    """Section 1: how many genes each knock-out changes."""
    print(f"\n## 1. Genes changed at FDR {FDR:.0%}, raw counts, of {cells.n_vars}\n")
    others = [hits(compare(path, name)) for name in ("ttest", "anderson", ASYMPTOTIC)]
    equal = equal_cells(cells)
    table(
        f"target|cells|down|up|both|both, {EQUAL_CELLS} cells|ttest|anderson|{ASYMPTOTIC}",
        [
            [t, n, d, u, d + u, f"{equal[t]:g}", *(found[t] for found in others)]
            for t, n, d, u in by_direction(raw).iter_rows()
        ],
    )
    print()
    for target, found in hits(raw).items():
        if 0 < found <= 5:
            genes = raw.filter((pl.col("target") == target) & (pl.col("fdr") < FDR))
            print(f"{target}:", ", ".join(genes.sort("p_value")["feature"]))


# 2. on-target effect


def ranked(result: pl.DataFrame) -> pl.DataFrame:
    """Rank of each gene's p-value within its target; 1 is the smallest."""
    return result.with_columns(rank=pl.col("p_value").rank("min").over("target"))


def on_target(result: pl.DataFrame) -> pl.DataFrame:
    """The rows in which the gene is the knock-out's own target."""
    return ranked(result).filter(pl.col("target") == pl.col("feature")).sort("target")


def own_row(row: dict[str, object], result: pl.DataFrame) -> list[object]:
    """One line of the on-target table, with what the other knock-outs do to that gene."""
    gene = result.filter(pl.col("feature") == row["feature"]).sort("log2_fold_change")
    others = gene.filter((pl.col("target") != row["target"]) & (pl.col("fdr") < FDR))
    down = others.filter(pl.col("z_score") < 0)["target"].to_list()
    up = others.filter(pl.col("z_score") > 0)["target"].to_list()
    return [
        row["target"],
        row["n_target"],
        f"{row['target_mean']:.2f}",
        f"{row['reference_mean']:.2f}",
        f"{row['log2_fold_change']:.2f}",
        f"{row['percent_change']:.0%}",
        f"{row['p_value']:.1e}",
        row["rank"],
        gene["target"].to_list().index(row["target"]) + 1,
        ", ".join(sorted(down)) or "none",
        ", ".join(sorted(up)) or "none",
    ]


def own_genes(raw: pl.DataFrame, title: str) -> None:
    """Section 2: does a knock-out lower its own mRNA."""
    print(f"\n## {title}\n")
    table(
        "target|cells|mean|reference mean|log2 FC|change|p|rank of p|"
        "place of FC among the 25 targets|also down in|also up in",
        [own_row(row, raw) for row in on_target(raw).iter_rows(named=True)],
    )
    first = ranked(raw).filter(pl.col("target") == "IFNGR2").sort("rank").head(8)
    print("\nIFNGR2 knock-out, by p:", ", ".join(first["feature"]))


# 3. depth


def normalised(cells: ad.AnnData) -> ad.AnnData:
    """log1p(x / total * median(total)), total over the genes of this file."""
    total = np.asarray(cells.X.sum(axis=1)).ravel()
    matrix = sparse.csr_matrix(sparse.diags(np.median(total) / total) @ cells.X)
    return ad.AnnData(matrix.log1p(), obs=cells.obs, var=cells.var)


def totals(cells: ad.AnnData) -> None:
    """Total counts per cell of the reference, the four and the replicates."""
    obs = cells.obs.assign(total=np.asarray(cells.X.sum(axis=1)).ravel())
    quantiles = np.quantile(obs["total"], [0, 0.5, 1])
    print("total per cell, min/median/max:", *quantiles.astype(int))
    for column, keep in (("target", (REFERENCE, *PATHWAY)), ("bio_rep", None)):
        means = obs.groupby(column, observed=True)["total"].mean()
        means = means.loc[list(keep)] if keep else means
        print("mean total:", ", ".join(f"{name} {mean:.1f}" for name, mean in means.items()))


def lost_counts(raw: pl.DataFrame) -> None:
    """Which genes make the JAK2 knock-out's total smaller."""
    jak2 = raw.filter(pl.col("target") == "JAK2").with_columns(
        lost=pl.col("reference_mean") - pl.col("target_mean")
    )
    top = jak2.sort("lost", descending=True).head(4)
    print(f"\nJAK2: {jak2['lost'].sum():.1f} counts per cell fewer than the reference, of which")
    print(f"{top['lost'].sum():.1f} in", ", ".join(top["feature"]))


def depth(cells: ad.AnnData, raw: pl.DataFrame, norm: pl.DataFrame) -> None:
    """Section 3: what normalising changes."""
    print("\n## 3. Depth\n")
    totals(cells)
    lost_counts(raw)
    a, b = raw["fdr"].to_numpy() < FDR, norm["fdr"].to_numpy() < FDR
    flips = a & b & (raw["z_score"].to_numpy() * norm["z_score"].to_numpy() < 0)
    print(f"\npairs found: raw {a.sum()}, normalised {b.sum()}, both {(a & b).sum()}", end=", ")
    print(f"only raw {(a & ~b).sum()}, only normalised {(b & ~a).sum()}; ", end="")
    print(f"opposite sign among both: {flips.sum()}\n")
    before = {t: (d, u) for t, _, d, u in by_direction(raw).iter_rows()}
    rows = [[t, *before[t], d, u] for t, _, d, u in by_direction(norm).iter_rows()]
    changed = [r for r in rows if any(r[1:])]
    table("target|down, raw|up, raw|down, normalised|up, normalised", changed)


# 4. null check: reference cells under random labels


def null_run(cells: ad.AnnData, name: str, size: int) -> tuple[float, float, float, list[int]]:
    """Rate of p < 0.01 over all, sparse and dense genes, and FDR hits in each draw."""
    zeros = 1 - cells.X.getnnz(axis=0) / cells.n_obs
    small, found = [], []
    for seed in range(SHUFFLES):
        labels = np.full(cells.n_obs, REFERENCE, dtype=object)
        labels[np.random.default_rng(seed).choice(cells.n_obs, size, replace=False)] = "random"
        result = compare(relabel(cells, labels), name)
        small.append(result["p_value"].to_numpy() < 0.01)
        found.append(int((result["fdr"] < FDR).sum()))
    rate = np.mean(small, axis=0)
    return rate.mean(), rate[zeros > 0.8].mean(), rate[zeros < 0.2].mean(), found


def null_check(cells: ad.AnnData) -> None:
    """Section 4: reference cells against reference cells."""
    print(f"\n## 4. Reference cells under random labels, {SHUFFLES} draws\n")
    reference = cells[cells.obs["target"] == REFERENCE].copy()
    zeros = 1 - reference.X.getnnz(axis=0) / reference.n_obs
    print(f"genes with > 80 % zeros: {(zeros > 0.8).sum()}, < 20 %: {(zeros < 0.2).sum()}\n")
    rows = []
    for name in ("wilcoxon", "ttest", "anderson", ASYMPTOTIC):
        for size in (48, 109, 274, 1000):
            *rates, found = null_run(reference, name, size)
            rates = [f"{rate:.1%}" for rate in rates]
            rows.append([name, size, *rates, f"{np.mean(found):.2f}", max(found)])
    table("test|cells|p < 0.01|> 80 % zeros|< 20 % zeros|mean FDR hits|most FDR hits", rows)
    point = 1 + 3.752 * np.sqrt(2 * (np.pi**2 - 9) / 3)
    print(f"\nAnderson-Darling 1 % point {point:.3f}", end="; ")
    print(f"chi-square(1) exceeds it with probability {stats.chi2.sf(point, 1):.4f}")
    guides = hits(compare(relabel(reference, reference.obs["guide"].to_numpy()), reference="rest"))
    print("non-targeting guides against the rest, wilcoxon FDR hits:", sorted(guides.items()))


# 5. clustering


def z_scores(result: pl.DataFrame) -> tuple[list[str], list[str], np.ndarray]:
    """Targets, genes and the matrix of z, targets x genes."""
    wide = result.pivot(on="feature", index="target", values="z_score")
    return wide["target"].to_list(), wide.columns[1:], wide.drop("target").to_numpy()


def tree(z: np.ndarray) -> np.ndarray:
    """Average linkage under 1 - Pearson correlation; constant genes left out."""
    return hierarchy.linkage(pdist(z[:, np.isfinite(z).all(axis=0)], "correlation"), "average")


def joins(linkage: np.ndarray, names: list[str]) -> list[tuple[float, set[str], set[str]]]:
    """Each join of the tree: its height and its two sides, lowest first."""
    sides, out = [{name} for name in names], []
    for left, right, height, _ in linkage:
        out.append((height, sides[int(left)], sides[int(right)]))
        sides.append(out[-1][1] | out[-1][2])
    return out


def report_tree(title: str, names: list[str], z: np.ndarray) -> None:
    """Whether the four are a clade, and the joins above them."""
    steps = joins(tree(z), names)
    clade = next((h for h, a, b in steps if a | b == set(PATHWAY)), None)
    text = "not a clade" if clade is None else f"a clade at {clade:.3f}"
    inside = [f"{h:.3f} {sorted(a | b)}" for h, a, b in steps if a | b <= set(PATHWAY)]
    print(f"\n{title}: the four are {text}; inside: {'; '.join(inside)}")
    for height, a, b in steps:
        if len(a | b) > 4 and set(PATHWAY) <= a | b and len(a | b) < 9:
            print(f"  {height:.3f} joined by {sorted(min(a, b, key=lambda s: 'JAK2' in s))}")


def cophenetic_facts(names: list[str], z: np.ndarray) -> None:
    """Correlation of tree and distances; distances within the four and elsewhere."""
    distance = pdist(z, "correlation")
    agreement, _ = hierarchy.cophenet(tree(z), distance)
    four = np.isin(names, PATHWAY)
    within = squareform(distance)[np.ix_(four, four)][np.triu_indices(4, 1)]
    outside = squareform(distance)[np.ix_(four, ~four)]
    rest = squareform(distance)[np.ix_(~four, ~four)][np.triu_indices(21, 1)]
    print(f"cophenetic correlation {agreement:.3f}")
    print(f"Pearson r within the four: {1 - within.max():.3f} to {1 - within.min():.3f}")
    closest = np.unravel_index(outside.argmin(), outside.shape)[1]
    print(f"largest r of one of the four with another target: {1 - outside.min():.3f}", end=" ")
    print(f"({np.array(names)[~four][closest]}); median r {1 - np.median(outside):.3f}")
    print(f"r among the other 21: median {1 - np.median(rest):.3f}, largest {1 - rest.min():.3f}")


def across_replicates(names: list[str], z: dict[str, np.ndarray]) -> None:
    """Correlation of two targets measured in two replicates: no cell in common."""
    four, reps = np.isin(names, PATHWAY), sorted(z)
    inside, other = [], []
    for i, first in enumerate(reps):
        for second in reps[i + 1 :]:
            good = np.isfinite(z[first]).all(axis=0) & np.isfinite(z[second]).all(axis=0)
            r = np.corrcoef(z[first][:, good], z[second][:, good])[: len(names), len(names) :]
            both = four[:, None] & four[None, :]
            different = ~np.eye(len(names), dtype=bool)
            inside.extend(r[both & different])
            other.extend(r[~both & different])
    print(f"\nacross replicates, pairs of the four: median r {np.median(inside):.3f}", end=", ")
    print(f"from {min(inside):.3f} to {max(inside):.3f}", end="; ")
    print(f"other pairs: median {np.median(other):.3f}")


def clustering(cells: ad.AnnData, raw: pl.DataFrame, norm: pl.DataFrame) -> None:
    """Section 5: do the four IFN-gamma targets cluster."""
    print("\n## 5. Clustering of z over all genes, average linkage, 1 - Pearson\n")
    names, genes, z = z_scores(raw)
    cophenetic_facts(names, z)
    report_tree("raw", names, z)
    report_tree("without the four's own genes", names, z[:, ~np.isin(genes, PATHWAY)])
    report_tree("normalised", names, z_scores(norm)[2])
    replicates = {}
    for rep in sorted(cells.obs["bio_rep"].unique()):
        replicates[rep] = z_scores(compare(cells[cells.obs["bio_rep"] == rep].copy()))[2]
        report_tree(rep, names, replicates[rep])
    across_replicates(names, replicates)


# the picture


def draw_tree(axes: plt.Axes, linkage: np.ndarray, names: list[str]) -> list[int]:
    """Row dendrogram, the four in colour; returns the order of rows from below."""
    members = [{name} for name in names] + [a | b for _, a, b in joins(linkage, names)]
    colour = [MARK if m <= set(PATHWAY) else "0.35" for m in members]
    leaves = hierarchy.dendrogram(
        linkage, ax=axes, orientation="left", no_labels=True, link_color_func=colour.__getitem__
    )["leaves"]
    axes.set_xlabel("1 - Pearson r")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return leaves


def draw_heat(axes: plt.Axes, z: np.ndarray, targets: list[str], genes: list[str]) -> object:
    """Heat map with labels; a square marks a target's own gene."""
    edges = 10 * np.arange(len(targets) + 1)
    mesh = axes.pcolormesh(np.arange(len(genes) + 1), edges, z, cmap="PuOr_r", vmin=-15, vmax=15)
    axes.set_xticks(np.arange(len(genes)) + 0.5, genes, rotation=90, fontsize=7.5, style="italic")
    axes.set_yticks(edges[:-1] + 5, targets, fontsize=9)
    axes.yaxis.tick_right()
    axes.tick_params(length=0)
    for label in axes.get_yticklabels():
        if label.get_text() in PATHWAY:
            label.set(color=MARK, weight="bold")
    for row, target in enumerate(targets):
        if target in genes:
            corner = (genes.index(target), edges[row])
            axes.add_patch(plt.Rectangle(corner, 1, 10, fill=False, ec="black", lw=1.4))
    return mesh


def picture(raw: pl.DataFrame, out: Path, n_genes: int = 50) -> None:
    """Write the figure: tree over all genes, heat map of the most variable ones."""
    names, genes, z = z_scores(raw)
    keep = np.argsort(-z.var(axis=0), kind="stable")[:n_genes]
    columns = keep[hierarchy.leaves_list(tree(z[:, keep].T))]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 6.6), width_ratios=[1, 6], layout="constrained"
    )
    rows = draw_tree(left, tree(z), names)
    heat = z[np.ix_(rows, columns)]
    mesh = draw_heat(right, heat, [names[i] for i in rows], [genes[j] for j in columns])
    left.set_ylim(0, 10 * len(names))
    bar = figure.colorbar(mesh, ax=right, extend="both", shrink=0.6, pad=0.02)
    bar.set_label("z against non-targeting cells (cut at ±15)")
    right.set_title(
        f"{len(names)} knock-outs, the {n_genes} genes of most variable z"
        " (squares: the target's own gene)",
        fontsize=11,
    )
    figure.savefig(out, dpi=130)
    plt.close(figure)
    extremes = (np.abs(heat) > 15).mean()
    print(f"\n{out.name}: {n_genes} genes, {extremes:.1%} of z beyond ±15")


def main() -> None:
    """Run all sections on one file."""
    parser = argparse.ArgumentParser(description="Numbers and picture of docs/papalexi.md")
    parser.add_argument("path", nargs="?", type=Path, default=DATA, help="the screen, .h5ad")
    parser.add_argument("--out", type=Path, default=HERE / "papalexi.png", help="the picture")
    args = parser.parse_args()
    if not args.path.is_file():
        parser.error(f"no file {args.path}; give the path of papalexi_thp1_screen.h5ad")
    cells = ad.read_h5ad(args.path)
    print(f"pdex {pdex.__version__}; {cells.n_obs} cells x {cells.n_vars} genes; ", end="")
    print(f"{(cells.obs['target'] == REFERENCE).sum()} cells are {REFERENCE}")
    raw, norm = compare(args.path), compare(normalised(cells))
    genes_changed(args.path, cells, raw)
    own_genes(raw, "2. Own genes, raw counts")
    own_genes(norm, "2b. Own genes, normalised")
    depth(cells, raw, norm)
    null_check(cells)
    clustering(cells, raw, norm)
    picture(raw, args.out)


if __name__ == "__main__":
    main()
