"""The C interface that Polars calls: who owns what, whatever goes wrong, and a struct's mirror.

Columns are exported here as Polars exports them (`polars_ffi::version_0`), with callbacks that
count how often each is released: once, since Polars forgets what it hands over. Schemas stay
Polars' own.
"""

import ctypes
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


VALUE, TARGET = pa.array([3.0, 4, 5, 1, 2, 3]), pa.array(["a"] * 3 + ["c"] * 3)
GOOD = rows(value=VALUE, target=TARGET)
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
    for chunks in ([GOOD], [GOOD.slice(0, 2), GOOD.slice(2)], [GOOD] * 5):
        export = Exported(chunks)
        result = call([export])
        assert result.type.get_field_index("p_value") > 0
        assert result.to_pylist()[0]["n_target"] == sum(map(len, chunks)) // 2
        assert set(export.releases.values()) == {1}, export.releases


BAD = {  # the columns, the keywords, what the message says
    "no column": (lambda: [], KEYWORDS, "expected a struct of columns, or values and a struct"),
    "two structs": (
        lambda: [Exported([GOOD]), Exported([GOOD] * 2)],
        KEYWORDS,
        "expected a struct",
    ),
    "three columns": (lambda: [Exported([GOOD]) for _ in range(3)], KEYWORDS, "expected a struct"),
    "no keywords": (lambda: [Exported([GOOD])], None, "without keywords"),
    "broken keywords": (lambda: [Exported([GOOD] * 3)], b"nope", "keywords of the plugin"),
    "missing keyword": (
        lambda: [Exported([GOOD])],
        pickle.dumps({"request": REQUEST}, protocol=5),
        "missing field `alternative`",
    ),
    "no struct": (lambda: [Exported([VALUE, VALUE])], KEYWORDS, "expected a struct of columns"),
    "no target": (lambda: [Exported([rows(value=VALUE)])], KEYWORDS, "column target is missing"),
    "no labels": (
        lambda: [Exported([rows(value=VALUE, target=VALUE)])],
        KEYWORDS,
        "column 't' has dtype f64",
    ),
    "no reference": (lambda: [Exported([GOOD])], NO_REFERENCE, "column 't' has no group 'x'"),
    "first chunk broken": (lambda: [Exported([GOOD] * 3, broken=[0])], KEYWORDS, ""),
    "second chunk broken": (lambda: [Exported([GOOD] * 3, broken=[1])], KEYWORDS, ""),
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
@pytest.mark.parametrize("n", [0, 1, 2])
def test_schemas_stay_their_owners(n, keywords):
    exports = [Exported([GOOD]) for _ in range(n)]
    got = field([export.schema for export in exports], keywords)
    if n == 1 and keywords == KEYWORDS:
        assert got.name == "wilcoxon"
        assert got.type == call(exports).type
    else:
        assert isinstance(got, str)
        assert got
    for export in exports:
        assert export.schema.release
        assert pa.Field._import_from_c(ctypes.addressof(export.schema)).type == GOOD.type


def test_values_may_come_before_the_other_columns():
    values, others = Exported([VALUE]), Exported([rows(target=TARGET)])
    expected = call([Exported([GOOD])])
    assert call([values, others]) == expected
    assert field([values.schema, others.schema]).type == expected.type
    assert set(values.releases.values()) == set(others.releases.values()) == {1}


def test_columns_without_a_name_are_those_of_a_group():
    """So Polars hands them over inside group_by: a group may lack the reference."""
    lacks = pickle.dumps({"request": {**REQUEST, "reference": "x"}, **OPTIONS}, protocol=5)
    assert "has no group 'x'" in call([Exported([GOOD], name="column")], lacks)
    rows = call([Exported([GOOD], name="")], lacks).to_pylist()
    assert [(row["target"], row["n_reference"], row["p_value"]) for row in rows] == [
        ("a", 0, None),
        ("c", 0, None),
    ]


def test_the_mirror_of_an_export_has_its_fields():
    check = LIBRARY._pdex_check_mirror
    check.restype = c_char_p
    assert check() is None
