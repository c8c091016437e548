"""Many groups in one call of a test: each equals the same group by itself, bit for bit."""

import re

import hypothesis.strategies as st
import numpy as np
import pdex
import polars as pl
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal

TESTS = ["wilcoxon", "anderson", "ttest", "ks"]
ENGINES = ["in-memory", "streaming"]
#: A dtype of targets, and what the labels are called in it.
TARGETS = [
    (pl.String, {}),
    (pl.String, {label: f"the group that is called {label}" for label in "abr"}),
    (pl.Categorical, {}),
    (pl.Enum(["b", "unused", "r", "a"]), {}),
    (pl.Enum([*map(str, range(300)), "b", "r", "a"]), {}),
    (pl.Boolean, {"a": True, "b": True, "r": False}),
    (pl.Int8, {"a": -7, "b": 3, "r": 0}),
    (pl.UInt64, {"a": 2**64 - 1, "b": 3, "r": 2**63}),
    (pl.Int128, {"a": -(2**100), "b": 3, "r": 2**70}),
]


def labelled(frame, dtype, names):
    """The frame with targets of another dtype, and the reference."""
    target = pl.col("target")
    if names:
        target = target.replace_strict(names, default=None, return_dtype=dtype)
    return frame.with_columns(target.cast(dtype)), names.get("r", "r")


def grouped(frame, expression, engine="in-memory"):
    """The list of each group, in the order of first occurrence."""
    query = frame.lazy().group_by("gene", maintain_order=True).agg(expression.alias("test"))
    return query.collect(engine=engine)


def one_by_one(frame, expression):
    """The same, each group in a query of its own."""
    parts = frame.partition_by("gene", maintain_order=True)
    return pl.concat([grouped(part, expression) for part in parts])


def same(got, expected):
    assert_frame_equal(got, expected, check_exact=True)


VALUES = st.one_of(
    st.none(),
    st.integers(-2, 3).map(float),
    st.floats(allow_nan=True, allow_infinity=False, width=32),
)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["a", "b", "r", "r", None]),
        VALUES,
        st.integers(0, 3),
        st.sampled_from(["x", "y", None]),
    ),
    min_size=1,
    max_size=80,
)
SCHEMA = {
    "gene": pl.Int64,
    "target": pl.String,
    "value": pl.Float64,
    "count": pl.Int64,
    "batch": pl.String,
}
#: The frame as it is, in another order, in chunks, and a slice of a larger one.
LAYOUTS = {
    "as drawn": lambda frame: frame,
    "sorted": lambda frame: frame.sort("gene", maintain_order=True),
    "chunks": lambda frame: pl.concat([frame[:3], frame[3:10], frame[10:]], rechunk=False),
    "slice": lambda frame: pl.concat([frame, frame, frame])[frame.height : 2 * frame.height],
}


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    ROWS,
    st.sampled_from(TESTS),
    st.sampled_from(TARGETS),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from([pl.Float64, pl.Float32, pl.Int16, pl.UInt32, pl.Int64, pl.Int128]),
    st.booleans(),
    st.sampled_from([["count"], ["count", "batch"], []]),
)
def test_any_groups_equal_each_by_itself(rows, test, target, layout, dtype, rest, others):
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    if not dtype.is_float():
        frame = frame.with_columns(pl.col("value").fill_nan(None).clip(0, 9).round())
    frame, reference = labelled(frame.cast({"value": dtype}), *target)
    options = {"count": "count"} if "count" in others else {}
    if test == "wilcoxon" and "batch" in others:
        options["strata"] = "batch"
    expression = getattr(pdex, test)(
        "value", "target", reference="rest" if rest else reference, **options
    )
    expected = one_by_one(frame, expression)
    laid = LAYOUTS[layout](frame)
    for engine in ENGINES:
        got = grouped(laid, expression, engine)
        same(got.sort("gene"), expected.sort("gene"))
        over = expression.over("gene", mapping_strategy="join").alias("test")
        joined = laid.lazy().select("gene", over).unique("gene").collect(engine=engine)
        same(joined.sort("gene"), expected.sort("gene"))
    # A whole frame of the same rows, or an error where a group has nulls.
    parts = frame.partition_by("gene", maintain_order=True)
    for part, group in zip(parts, expected["test"], strict=True):
        fields, failed = group.struct.unnest(), ""
        try:
            same(fields, part.select(expression).unnest(test))
        except pl.exceptions.ComputeError as error:
            failed = str(error)
        if failed:
            assert re.search("has no group|nothing to test|has no cells", failed)
            assert fields["p_value"].null_count() == fields.height


@pytest.fixture(scope="module")
def large():
    """3,000 groups, shared out among threads: some lack labels, or the reference."""
    rng = np.random.default_rng(5)
    n = 90_000
    gene = np.sort(rng.integers(0, 3_000, n))
    labels = np.where(gene % 7 == 0, rng.integers(0, 2, n), rng.integers(0, 3, n))
    return pl.DataFrame(
        {
            "gene": gene,
            "target": np.array(["a", "b", "r"])[labels],
            "value": np.round(rng.normal(size=n), 1) * (rng.random(n) < 0.7),
            "count": rng.integers(0, 4, n),
            "batch": rng.choice(["x", "y", "z"], n),
        }
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "names"), TARGETS)
def test_thousands_of_groups_equal_each_by_itself(large, dtype, names, engine):
    frame, reference = labelled(large, dtype, names)
    expression = pdex.wilcoxon("value", "target", reference=reference, count="count")
    some = frame.filter(pl.col("gene") % 29 == 0)
    expected = one_by_one(some, expression)
    assert expected["test"].list.len().max() == (1 if dtype == pl.Boolean else 2)
    for laid in (frame, frame.set_sorted("gene"), frame.sample(fraction=1, shuffle=True, seed=1)):
        got = grouped(laid, expression, engine).filter(pl.col("gene") % 29 == 0)
        same(got.sort("gene"), expected)


@pytest.mark.parametrize("test", TESTS)
def test_each_test_of_thousands_of_groups(large, test):
    some = large.filter(pl.col("gene") % 29 == 0)
    kinds = [{}, {"count": "count"}, {"count": "count", "strata": "batch"}]
    for options in kinds if test == "wilcoxon" else kinds[:2]:
        for reference in ("r", "rest"):
            expression = getattr(pdex, test)("value", "target", reference=reference, **options)
            got = grouped(large, expression).filter(pl.col("gene") % 29 == 0)
            same(got, one_by_one(some, expression))


def test_counts_of_one_cell_are_no_counts(large):
    expression = pdex.wilcoxon("value", "target", reference="r", count="one")
    frame = large.with_columns(one=pl.lit(1, pl.UInt8))
    plain = pdex.wilcoxon("value", "target", reference="r")
    same(grouped(frame, expression), grouped(frame, plain))


def test_categories_of_chunks_may_differ():
    frames = [
        pl.DataFrame({"gene": gene, "value": range(6), "target": pl.Series(labels, dtype=dtype)})
        for dtype in (pl.Categorical, pl.Enum(["r", "q", "a"]))
        for gene, labels in (
            ([1, 1, 1, 2, 2, 2], ["r", "a", "a", "r", "r", "a"]),
            ([1, 2, 3, 3, 3, 3], ["q", "q", "a", "q", "r", "r"]),
        )
    ]
    for parts in (frames[:2], frames[2:]):
        frame = pl.concat(parts, rechunk=False)
        expression = pdex.wilcoxon("value", "target", reference="r")
        got = grouped(frame, expression)
        same(got, one_by_one(frame.rechunk(), expression))
        targets = [[row["target"] for row in rows] for rows in got["test"].to_list()]
        order = ["a", "q"] if frame["target"].dtype == pl.Categorical else ["q", "a"]
        assert targets == [order] * 3


@pytest.mark.parametrize("bad", [1_200, 2_999])
def test_the_first_group_that_fails_is_named(large, bad):
    frame = large.with_columns(
        count=pl.when(pl.col("gene") >= bad).then(-pl.col("gene")).otherwise("count")
    )
    expression = pdex.wilcoxon("value", "target", reference="r", count="count")
    for _ in range(5):
        with pytest.raises(pl.exceptions.ComputeError, match=rf"'count'.*-{bad}\b"):
            grouped(frame, expression)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rows", [1, 4, 200_000])
def test_one_group_is_no_whole_frame(engine, rows):
    frame = pl.DataFrame({"gene": [1] * rows, "target": "a", "value": 1.0})
    expression = pdex.wilcoxon("value", "target", reference="r")
    for laid in (frame, frame.set_sorted("gene")):
        group = grouped(laid, expression, engine)["test"].to_list()
        assert [(row["target"], row["n_target"], row["p_value"]) for row in group[0]] == [
            ("a", rows, None)
        ]
        over = laid.lazy().select(expression.over("gene", mapping_strategy="join"))
        assert over.collect(engine=engine)["wilcoxon"].head(1).to_list() == group
        with pytest.raises(pl.exceptions.ComputeError, match="'target' has no group 'r'"):
            laid.lazy().select(expression).collect(engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_group_of_the_reference_alone_has_no_rows(engine):
    frame = pl.DataFrame(
        {"gene": [1, 2, 2, 3], "target": ["r", "r", "a", "r"], "value": [1.0, 2.0, 3.0, 4.0]}
    )
    got = grouped(frame, pdex.wilcoxon("value", "target", reference="r"), engine)
    assert got["test"].list.len().to_list() == [0, 1, 0]
    assert got["test"].null_count() == 0
