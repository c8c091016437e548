"""Write h5ad.h5 beside itself, the file that the tests of src/h5ad read.

python tests/golden/h5ad.py
"""

from pathlib import Path

import h5py
import numpy as np

with h5py.File(Path(__file__).with_suffix(".h5"), "w", track_order=False) as file:
    obs = file.create_group("obs")
    obs.attrs["encoding-type"] = "dataframe"
    obs.attrs["column-order"] = ["target", "zwölf"]
    obs.attrs["empty"] = np.array([], "f8")
    obs.attrs["shape"] = np.array([3, 4], "i8")
    obs.attrs["ordered"] = True
    obs.attrs["number"] = np.int16(-7)
    names = obs.create_dataset("names", (5,), h5py.string_dtype(), chunks=(2,), compression="gzip")
    names[:] = ["a", "", "zwölf", "d" * 30, "e"]
    obs["fixed"] = np.array([b"ab", b"c", b""], "S4")
    obs["codes"] = np.array([0, -1, 2], "i1")
    obs["flags"] = np.array([True, False, True])
    obs["codes"].attrs["categories"] = obs["fixed"].ref
    numbers = file.create_group("numbers")
    table = np.arange(21 * 6).reshape(21, 6)
    numbers.create_dataset("gzip", data=table.astype("f4"), chunks=(8, 4), compression="gzip")
    numbers.create_dataset("lzf", data=table.astype(">i2"), chunks=(8, 4), compression="lzf")
    numbers.create_dataset("contiguous", data=table.astype("f2"))
    numbers.create_dataset("fill", (1000,), "u4", chunks=(10,), fillvalue=9)
    numbers["fill"][3] = 5
    numbers.create_dataset("sparse", (10**10,), "u4", chunks=(1 << 10,))
    numbers["sparse"][2**32 + 5] = 5
    numbers["scalar"] = 2.5
    numbers["null"] = h5py.Empty("f4")
    numbers["complex"] = np.ones(2, complex)
    numbers["long"] = np.ones(2, np.longdouble)
    numbers.create_dataset("lists", (2,), h5py.vlen_dtype("i4"))
    kind = h5py.h5t.NATIVE_INT32.copy()
    kind.set_precision(24)
    space = h5py.h5s.create_simple((3,))
    odd = h5py.h5d.create(numbers.id, b"odd", kind, space)
    odd.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([-3, 0, 7], np.int32))
    records = np.zeros(3, [("index", "S4"), ("n", "i1"), ("x", "f8")])
    records["index"], records["n"], records["x"] = ["r0", "r1", "r2"], [1, -1, 0], [0.5, 1.5, 2.5]
    file["records"] = records
    file["soft"] = h5py.SoftLink("/obs/codes")
    file["nowhere"] = h5py.SoftLink("/obs/none")
    file["same"] = file["numbers"]
