"""Golden values of the Kolmogorov-Smirnov test: exact lattice paths, and one-sample tails.

    python tests/golden/ks.py      # writes ks.csv beside itself

mpmath 1.4.1, SciPy 1.17.1 (a check, no source of values), Python 3; no random numbers, about a
minute on one core.

Rows: function, n1, n2, x, sf, log_sf.
    two_sided, one_sided   x = c, the whole number n1 n2 D: the chance that max |n2 M - n1 R| >= c,
                           or that max (n2 M - n1 R) >= c, over all ways to label the cells, by
                           counting lattice paths in whole numbers
    kolmogorov             n = n1 (n2 empty), x = d: the two-sided one-sample tail P(D_n >= d), by
                           Durbin's matrix in fixed point of 1,400 bits, or twice Smirnov's sum, if
                           that is the same to 1e-19
    smirnov                the one-sided one-sample tail P(D+_n >= d), Smirnov's sum in 60 digits
sf carries 17 digits, in exponent form also below the range of a binary64; log_sf carries 20.
"""

import csv
import math
import pathlib
import sys

import mpmath as mp
import scipy
import scipy.stats
from mpmath import mpf

mp.mp.dps = 60
BITS = 1400


def paths_inside(n1, n2, c, both):
    """Lattice paths from (0, 0) to (n1, n2) on which n2 i - n1 j stays below c (and above -c)."""
    row = [0] * (n2 + 1)
    for i in range(n1 + 1):
        for j in range(n2 + 1):
            gap = n2 * i - n1 * j
            if gap >= c or (both and -gap >= c):
                row[j] = 0
            elif i == j == 0:
                row[j] = 1
            else:
                row[j] = (row[j] if i else 0) + (row[j - 1] if j else 0)
    return row[n2]


def exact(n1, n2, c, both):
    total = math.comb(n1 + n2, n1)
    outside = total - paths_inside(n1, n2, c, both)
    sf = mpf(outside) / total
    return sf, (mp.log(sf) if sf < 0.5 else mp.log1p(-mpf(total - outside) / total))


def durbin(n, d):
    """P(D_n < d): the middle entry of n!/n^n H^n (Marsaglia, Tsang and Wang 2003)."""
    one = 1 << BITS
    k = int(mp.floor(mpf(d) * n)) + 1
    m = 2 * k - 1

    def fixed(v):
        return int(mp.floor(v * one))

    with mp.workdps(430):
        h = k - mpf(d) * n
        inverse = [1 / mp.factorial(i) for i in range(m + 2)]
        matrix = [
            [inverse[i - j + 1] if i - j + 1 >= 0 else mpf(0) for j in range(m)] for i in range(m)
        ]
        for i in range(m):
            matrix[i][0] -= h ** (i + 1) * inverse[i + 1]
            matrix[m - 1][i] -= h ** (m - i) * inverse[m - i]
        matrix[m - 1][0] += max(2 * h - 1, 0) ** m * inverse[m]
        rows = [[fixed(v) for v in row] for row in matrix]
    state = [0] * m
    state[k - 1] = one
    for step in range(1, n + 1):
        new = [0] * m
        for i, value in enumerate(state):
            if value:
                row = rows[i]
                for j in range(min(i + 2, m)):
                    new[j] += value * row[j]
        state = [(v >> BITS) * step // n for v in new]
    return mpf(state[k - 1]) / one


def smirnov(n, d):
    d, total = mpf(d), mpf(0)
    with mp.workdps(80):
        for j in range(int(mp.floor(n * (1 - d))) + 1):
            q = d + mpf(j) / n
            term = mp.binomial(n, j) * q ** (j - 1) if n < 3000 else None
            if term is None:
                log = mp.loggamma(n + 1) - mp.loggamma(j + 1) - mp.loggamma(n - j + 1)
                total += mp.exp(log + (j - 1) * mp.log(q) + (n - j) * mp.log(1 - q)) if q < 1 else 0
            else:
                total += term * (1 - q) ** (n - j)
        return d * total


def kolmogorov(n, d):
    z2 = n * d * d
    if d >= 0.5 or z2 > 8:
        sf = 2 * smirnov(n, d)
        return sf, mp.log(sf)
    cdf = durbin(n, d)
    return 1 - cdf, (mp.log(1 - cdf) if cdf > 0.5 else mp.log1p(-cdf))


def rows():
    sizes = [
        (1, 1),
        (1, 7),
        (2, 3),
        (4, 6),
        (5, 5),
        (7, 12),
        (12, 18),
        (20, 31),
        (30, 30),
        (40, 300),
    ]
    sizes += [(50, 75), (97, 101), (150, 150), (8, 1000), (200, 260)]
    for n1, n2 in sizes:
        g = math.gcd(n1, n2)
        top = n1 * n2
        fractions = (0.001, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95, 1.0)
        steps = sorted({max(1, round(f * top / g)) * g for f in fractions})
        for c in steps:
            for both in (True, False):
                yield ("two_sided" if both else "one_sided", n1, n2, c, *exact(n1, n2, c, both))
    zs = (0.2, 0.35, 0.5, 0.6, 0.64, 0.66, 0.8, 1.0, 1.3, 1.6, 2.0, 2.11, 2.13, 2.5)
    for n in (1, 2, 3, 5, 10, 30, 80, 140, 141, 250, 400, 700, 1500):
        for z in zs:
            d = float(mp.nstr(z / mp.sqrt(n), 5))
            if n * d > 0.5 and d < 1:
                yield ("kolmogorov", n, "", d, *kolmogorov(n, d))
    for n in (10, 140, 1000, 20_000):
        for z in (3.0, 5.0, 12.0, 30.0, 80.0):
            d = float(mp.nstr(z / mp.sqrt(n), 5))
            if d < 1:
                yield ("kolmogorov", n, "", d, *kolmogorov(n, d))
    for n in (1, 2, 7, 50, 600, 2100, 2200, 5000, 20_000):
        for z in (0.65, 0.9, 1.5, 4.0, 15.0, 60.0):
            d = float(mp.nstr(z / mp.sqrt(n), 5))
            if d < 1:
                sf = smirnov(n, d)
                yield ("smirnov", n, "", d, sf, mp.log(sf))
    for n, d in ((50, 0.995), (50, 0.98), (200, 0.51), (200, 0.75)):
        sf = smirnov(n, d)
        yield ("smirnov", n, "", d, sf, mp.log(sf))
        yield ("kolmogorov", n, "", d, 2 * sf, mp.log(2 * sf))


def check(table):
    """Against SciPy, where that is good: exact two-sample laws and one-sample tails to n = 140."""
    worst = {}
    for name, n1, n2, x, sf, _ in table:
        if name == "kolmogorov":
            got = scipy.stats.kstwo.sf(x, n1)
            good = n1 <= 140 and sf > 1e-300
        elif name == "smirnov":
            got, good = scipy.stats.ksone.sf(x, n1), sf > 1e-300
        else:
            alternative = "two-sided" if name == "two_sided" else "less"
            ok, _, got = scipy.stats._stats_py._attempt_exact_2kssamp(
                n1, n2, math.gcd(n1, n2), x / (n1 * n2), alternative
            )
            good = ok and sf > 1e-300 and (name == "two_sided" or n1 * n2 < 3000)
        if good:
            off = abs(float(got / sf - 1))
            worst[name] = max(worst.get(name, (0,)), (off, n1, n2, x))
    print(worst, file=sys.stderr)
    assert all(off < 1e-9 for off, *_ in worst.values()), worst


def main():
    assert mp.__version__ == "1.4.1", mp.__version__
    assert scipy.__version__.startswith("1.17"), scipy.__version__
    table = list(rows())
    check(table)
    path = pathlib.Path(__file__).with_suffix(".csv")
    with path.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["function", "n1", "n2", "x", "sf", "log_sf"])
        for name, n1, n2, x, sf, log_sf in table:
            writer.writerow([name, n1, n2, repr(x), mp.nstr(sf, 17), mp.nstr(log_sf, 20)])
    print(path, len(table), file=sys.stderr)


if __name__ == "__main__":
    main()
