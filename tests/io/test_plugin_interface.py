"""The C interface that Polars calls: who owns what, whatever goes wrong, and a struct's mirror.

Columns are exported here as Polars exports them (`polars_ffi::version_0`), with callbacks that
count how often each is released: once, since Polars forgets what it hands over. Schemas stay
Polars' own.
"""

import ctypes
import itertools
import pickle
from ctypes import POINTER, Structure, byref, c_char_p, c_int64, c_size_t, c_void_p

import pdex
import pyarrow as pa
import pytest

LIBRARY = ctypes.CDLL(pdex._pdex.__file__)
RELEASE = ctypes.CFUNCTYPE(None, c_void_p)


class ArrowSchema(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("format", "name", "metadata")),
        *((name, c_int64) for name in ("flags", "n_children")),
        *((name, c_void_p) for name in ("children", "dictionary", "release", "private_data")),
    )


class ArrowArray(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("length", "null_count", "offset", "n_buffers")),
        *((name, c_int64) for name in ("n_children",)),
        *((name, c_void_p) for name in ("buffers", "children", "dictionary")),
        *((name, c_void_p) for name in ("release", "private_data")),
    )


class SeriesExport(Structure):
    _fields_ = (
        ("field", POINTER(ArrowSchema)),
        ("arrays", POINTER(POINTER(ArrowArray))),
        ("len", c_size_t),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )


class Exported:
    """A chunked column as Polars exports it; `releases` counts by what is released."""

    def __init__(self, chunks, broken=(), name="pdex"):
        self.releases = {"column": 0}
        self.kept = []
        self.schema = ArrowSchema()
        arrays = []
        for i, chunk in enumerate(chunks):
            array = ArrowArray()
            schema = self.schema if i == 0 else ArrowSchema()
            chunk._export_to_c(ctypes.addressof(array), ctypes.addressof(schema))
            self.releases[f"chunk {i}"] = 0
            self._count(array, f"chunk {i}", array.n_children)
            if i in broken:
                array.n_children = 0
            arrays.append(ctypes.pointer(array))
        self.name = ctypes.create_string_buffer(name.encode())
        self.schema.name = ctypes.addressof(self.name)
        self.arrays = (POINTER(ArrowArray) * len(arrays))(*arrays)
        self.column = SeriesExport(ctypes.pointer(self.schema), self.arrays, len(arrays))
        self.column.private_data = 1
        self._count(self.column, "column", None)

    def _count(self, exported, what, n_children):
        original = exported.release and RELEASE(exported.release)

        def release(address):
            self.releases[what] += 1
            released = type(exported).from_address(address)
            if original:
                released.n_children = n_children
                original(address)
            released.release = None

        callback = RELEASE(release)
        self.kept.append(callback)
        exported.release = ctypes.cast(callback, c_void_p).value


def rows(**columns):
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def lists(*items):
    """One list for each array."""
    ends = [0, *itertools.accumulate(map(len, items))]
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.concat_arrays(items))


VALUE, TARGET = pa.array([3.0, 4, 5, 1, 2, 3]), pa.array(["a"] * 3 + ["c"] * 3)
GOOD = rows(value=VALUE, target=TARGET)
ONE, FLAG = lists(GOOD), pa.array([False])
REQUEST = {"reference_kind": "text", "reference": "c", "value": "v", "target": "t", "count": "n"}
OPTIONS = {
    "alternative": "two-sided",
    "method": "asymptotic",
    "continuity": True,
    "tie_correct": True,
}
KEYWORDS = pickle.dumps({"request": REQUEST, **OPTIONS}, protocol=5)
NO_REFERENCE = pickle.dumps({"request": {**REQUEST, "reference": "x"}, **OPTIONS}, protocol=5)


def call(exports, keywords=KEYWORDS):
    """Call the plugin; return its result as Arrow, or its message."""
    given = (SeriesExport * len(exports))(*(export.column for export in exports))
    out = SeriesExport()
    function = LIBRARY._polars_plugin_wilcoxon
    function.argtypes = [c_void_p, c_size_t, c_char_p, c_size_t, c_void_p, c_void_p]
    function.restype = None
    function(given, len(exports), keywords, len(keywords or b""), byref(out), None)
    if out.private_data is None:
        return message()
    assert out.len == 1
    array = pa.Array._import_from_c(
        ctypes.addressof(out.arrays[0].contents), ctypes.addressof(out.field.contents)
    )
    RELEASE(out.release)(ctypes.addressof(out))
    return array


def message():
    last = LIBRARY._polars_plugin_get_last_error_message
    last.restype = c_char_p
    return last().decode()


def test_a_call_releases_what_it_is_given_once():
    two = lists(GOOD, GOOD.slice(1))
    for chunks in ([ONE], [two], [two.slice(0, 1), two.slice(1)], [ONE] * 5, [two.slice(1)]):
        exports = Exported(chunks), Exported([FLAG])
        result = call(exports)
        assert result.type.value_type.get_field_index("p_value") > 0
        sizes = [row["n_target"] for rows in result.to_pylist() for row in rows]
        assert sizes == [len(rows) - 3 for chunk in chunks for rows in chunk.to_pylist()]
        for export in exports:
            assert set(export.releases.values()) == {1}, export.releases


FLAGS = lambda: Exported([FLAG])  # noqa: E731
EXPECTED = "expected lists of structs, or of values and of structs, and a flag for each"
BAD = {  # the columns, the keywords, what the message says
    "no column": (lambda: [], KEYWORDS, EXPECTED),
    "no flag": (lambda: [Exported([ONE])], KEYWORDS, EXPECTED),
    "lists for flags": (lambda: [Exported([ONE]), Exported([ONE])], KEYWORDS, EXPECTED),
    "other flags": (
        lambda: [Exported([lists(GOOD, GOOD)]), Exported([FLAG] * 3)],
        KEYWORDS,
        EXPECTED,
    ),
    "values twice": (
        lambda: [Exported([ONE]), Exported([lists(GOOD, GOOD)]), FLAGS()],
        KEYWORDS,
        EXPECTED,
    ),
    "another length": (
        lambda: [Exported([lists(VALUE[1:])]), Exported([lists(rows(target=TARGET))]), FLAGS()],
        KEYWORDS,
        "differ in length",
    ),
    "four columns": (lambda: [Exported([ONE]) for _ in range(3)] + [FLAGS()], KEYWORDS, EXPECTED),
    "no keywords": (lambda: [Exported([ONE]), FLAGS()], None, "without keywords"),
    "broken keywords": (
        lambda: [Exported([ONE] * 3), FLAGS()],
        b"nope",
        "keywords of the plugin",
    ),
    "missing keyword": (
        lambda: [Exported([ONE]), FLAGS()],
        pickle.dumps({"request": REQUEST}, protocol=5),
        "missing field `alternative`",
    ),
    "no list": (lambda: [Exported([GOOD]), FLAGS()], KEYWORDS, EXPECTED),
    "no struct": (lambda: [Exported([lists(VALUE)] * 2), FLAGS()], KEYWORDS, EXPECTED),
    "no target": (
        lambda: [Exported([lists(rows(value=VALUE))]), FLAGS()],
        KEYWORDS,
        "column target is missing",
    ),
    "no labels": (
        lambda: [Exported([lists(rows(value=VALUE, target=VALUE))]), FLAGS()],
        KEYWORDS,
        "column 't' has dtype f64",
    ),
    "no reference": (
        lambda: [Exported([ONE]), FLAGS()],
        NO_REFERENCE,
        "column 't' has no group 'x'",
    ),
    "first chunk broken": (lambda: [Exported([ONE] * 3, broken=[0]), FLAGS()], KEYWORDS, ""),
    "second chunk broken": (lambda: [Exported([ONE] * 3, broken=[1]), FLAGS()], KEYWORDS, ""),
}


@pytest.mark.parametrize("case", BAD)
def test_a_call_that_fails_releases_what_it_is_given_once(case):
    make, keywords, text = BAD[case]
    exports = make()
    got = call(exports, keywords)
    assert isinstance(got, str)
    assert text in got
    assert [set(export.releases.values()) for export in exports] == [{1}] * len(exports)


def field(schemas, keywords=KEYWORDS):
    """Ask for the result's field; return it as Arrow, or the message."""
    given, out = (ArrowSchema * len(schemas))(*schemas), ArrowSchema()
    function = LIBRARY._polars_plugin_field_wilcoxon
    function.argtypes = [c_void_p, c_size_t, c_void_p, c_char_p, c_size_t]
    function.restype = None
    function(given, len(schemas), byref(out), keywords, len(keywords or b""))
    return pa.Field._import_from_c(ctypes.addressof(out)) if out.release else message()


@pytest.mark.parametrize("keywords", [KEYWORDS, b"nope", None])
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_schemas_stay_their_owners(n, keywords):
    exports = [Exported([FLAG if i else ONE]) for i in range(n)]
    types = [pa.bool_() if i else ONE.type for i in range(n)]
    got = field([export.schema for export in exports], keywords)
    if n == 2 and keywords == KEYWORDS:
        assert got.name == "wilcoxon"
        assert got.type == call(exports).type
    else:
        assert isinstance(got, str)
        assert got
    for export, dtype in zip(exports, types, strict=True):
        assert export.schema.release
        assert pa.Field._import_from_c(ctypes.addressof(export.schema)).type == dtype


def test_values_may_come_before_the_other_columns():
    values, others, flags = (
        Exported([lists(VALUE)]),
        Exported([lists(rows(target=TARGET))]),
        FLAGS(),
    )
    expected = call([Exported([ONE]), FLAGS()])
    assert call([values, others, flags]) == expected
    schemas = [values.schema, others.schema, flags.schema]
    assert field(schemas).type == expected.type
    assert set(values.releases.values()) == set(others.releases.values()) == {1}


def test_a_group_may_lack_the_reference():
    assert "has no group 'x'" in call([Exported([ONE]), FLAGS()], NO_REFERENCE)
    both = [Exported([lists(GOOD, GOOD)]), Exported([pa.array([True, False])])]
    assert "has no group 'x'" in call(both, NO_REFERENCE)
    groups = [Exported([lists(GOOD, GOOD.slice(3))]), Exported([pa.array([True, True])])]
    found = [
        [(row["target"], row["n_reference"], row["p_value"]) for row in rows]
        for rows in call(groups, NO_REFERENCE).to_pylist()
    ]
    assert found == [[("a", 0, None), ("c", 0, None)], [("c", 0, None)]]


def test_null_and_empty_lists_are_passed_over():
    whole = lists(GOOD, GOOD, GOOD[:0], GOOD[1:])
    # The second list is null, and has rows all the same; the third has none.
    valid = pa.py_buffer(bytes([0b1101]))
    buffers = [valid, whole.buffers()[1]]
    holed = pa.Array.from_buffers(whole.type, 4, buffers, null_count=1, children=[whole.values])
    alone = [call([Exported([lists(rows)]), FLAGS()]).to_pylist()[0] for rows in (GOOD, GOOD[1:])]
    expected = [alone[0], None, [], alone[1]]
    for start in range(4):
        for flags in (FLAG, pa.array([False] * (4 - start))):
            got = call([Exported([holed.slice(start)]), Exported([flags])])
            assert got.to_pylist() == expected[start:]
    assert call([Exported([holed.slice(0, 0)]), FLAGS()]).to_pylist() == []
    assert call([Exported([ONE]), Exported([pa.array([False] * 3)])]).to_pylist() == alone[:1] * 3


def in_group(export):
    given, out = (SeriesExport * 1)(export.column), SeriesExport()
    function = LIBRARY._polars_plugin_in_group
    function.argtypes = [c_void_p, c_size_t, c_char_p, c_size_t, c_void_p, c_void_p]
    function.restype = None
    function(given, 1, b"", 0, byref(out), None)
    array = pa.Array._import_from_c(
        ctypes.addressof(out.arrays[0].contents), ctypes.addressof(out.field.contents)
    )
    RELEASE(out.release)(ctypes.addressof(out))
    assert set(export.releases.values()) == {1}
    return array.to_pylist()


def test_columns_without_a_name_are_those_of_a_group():
    """So Polars hands them over inside group_by."""
    assert in_group(Exported([VALUE], name="")) == [True]
    assert in_group(Exported([VALUE], name="len")) == [False]


def test_the_mirror_of_an_export_has_its_fields():
    check = LIBRARY._pdex_check_mirror
    check.restype = c_char_p
    assert check() is None
