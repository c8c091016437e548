"""Golden values of src/stats/special: upper tails and their logarithms, 50 digits inside.

    python tests/golden/special.py      # writes special.csv beside itself

mpmath 1.4.1, Python 3; no random numbers, about two minutes on one core.

Rows: function, x, df, sf, log_sf (df empty unless the function is student_t). The arguments are
the exact binary64 numbers that their shortest decimals name; sf carries 17 digits, in exponent form
also below the range of a binary64; log_sf carries 20.

None of the formulae below is the one that Rust evaluates, save for the two integrals of Anderson
and Darling: those are evaluated by adaptive quadrature and held against each other.
"""

import csv
import pathlib
import sys

import mpmath as mp
from mpmath import mpf

DIGITS = 50
mp.mp.dps = DIGITS


def both(sf, cdf):
    """(sf, ln sf), the logarithm through whichever of the two sides is the smaller."""
    return sf, mp.log(sf) if sf < 0.5 else mp.log1p(-cdf)


def normal(z):
    z = mpf(z)
    return both(mp.erfc(z / mp.sqrt(2)) / 2, mp.erfc(-z / mp.sqrt(2)) / 2)


def t_half_beta(t, df):
    """I_x(df/2, 1/2) / 2 for t > 0: the centre's series (DLMF 8.17.8) or Lentz (8.17.22)."""
    a, b = df / 2, mpf(1) / 2
    x, y = df / (df + t * t), t * t / (df + t * t)
    front = mp.exp(
        a * mp.log(x) + b * mp.log(y) + mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
    )
    if t * t < 60 and y < 0.6:
        total = term = mpf(1)
        n = 0
        while term > total * mpf(10) ** (-mp.mp.dps):
            term *= (a + b + n) / (b + 1 + n) * y
            total += term
            n += 1
        return (1 - front * total / b) / 2
    tiny, f, c, d, m = mpf(10) ** -300, mpf(1), mpf(1), mpf(0), 0
    while True:
        if m == 0:
            num = mpf(1)
        elif m % 2 == 0:
            k = mpf(m // 2)
            num = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
        else:
            k = mpf((m - 1) // 2)
            num = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
        d = 1 / (1 + num * d or tiny)
        c = 1 + num / c or tiny
        f *= c * d
        m += 1
        if abs(c * d - 1) < mpf(10) ** (-mp.mp.dps + 5):
            # f is 1 + 1/(1 + d1/...): the leading 1 is Lentz's start
            return front * (f - 1) / a / 2


def student_t(t, df):
    t, df = mpf(t), mpf(df)
    if t == 0:
        return mpf(1) / 2, mp.log(mpf(1) / 2)
    with mp.workdps(100):
        half = t_half_beta(abs(t), df)
        return both(half, 1 - half) if t > 0 else both(1 - half, half)


def anderson_upper(x):
    """Smirnov's alternating sum; u = mid - half cos(angle) absorbs both square roots."""
    x, total, k = mpf(x), mpf(0), 1

    def weight(u):
        return mp.exp(-(u - 1) * x) / (
            u * mp.sqrt(abs(mp.cos(mp.pi / 2 * mp.sqrt(1 + 8 * u))) / (2 * mp.pi * u))
        )

    while True:
        lo, hi = mpf((2 * k - 1) * k), mpf(k * (2 * k + 1))
        mid, half = (lo + hi) / 2, (hi - lo) / 2
        # for large x all the mass lies at angles of 1/sqrt(x)
        top = mp.pi if x < 100 else min(mp.pi, 16 / mp.sqrt(x))
        part = mp.quad(
            lambda angle: weight(mid - half * mp.cos(angle)) * half * mp.sin(angle),
            mp.linspace(0, top, 7),
            method="gauss-legendre",
        )
        total += part if k % 2 else -part
        if part < total * mpf(10) ** -40:
            return total / mp.pi * mp.exp(-x)
        k += 1


def anderson_lower(x):
    """Anderson and Darling (1954): the distribution function, for small x."""
    x, total, j = mpf(x), mpf(0), 0
    while True:
        r = 4 * j + 1
        part = (
            mp.binomial(mpf(-1) / 2, j)
            * mp.exp(-(r * r) * mp.pi**2 / (8 * x))
            * mp.quad(
                lambda v: mp.exp(-v * v + x / (8 * (1 + 8 * x * v * v / (mp.pi * r) ** 2))),
                [0, 1, 2, 4, 12],
            )
        )
        total += part
        if abs(part) < total * mpf(10) ** -40:
            return 4 / mp.sqrt(mp.pi * x) * total
        j += 1


def anderson_darling(x):
    if x < 1.5:
        cdf = anderson_lower(x)
        return both(1 - cdf, cdf)
    sf = anderson_upper(x)
    return both(sf, 1 - sf)


def spaced(lo, hi, count):
    """Geometric, rounded to five digits so that the file stays readable."""
    step = (mp.log(hi) - mp.log(lo)) / (count - 1)
    return [float(mp.nstr(lo * mp.exp(step * i), 5)) for i in range(count)]


def arguments():
    z = [0.0, *spaced(1e-6, 1e4, 131), *(i / 16 for i in range(1, 161))]
    yield from (("normal", v, None) for v in sorted({*z, *(-v for v in z)}))
    t = sorted({0.0, *spaced(1e-6, 1.0, 7), *spaced(0.05, 1e4, 40), *spaced(0.5, 50.0, 24)})
    for df in (0.1, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 28.7, 29.4, 30.0, 100.0, 1e3, 1e4, 1e6, 1e8):
        yield from (("student_t", v, df) for v in t)
        yield from (("student_t", -v, df) for v in t[1::3])
    ad = {*spaced(5e-4, 0.01, 25), *spaced(0.01, 1e3, 181), *spaced(1e3, 1e5, 21)}
    ad |= {i / 10 for i in range(1, 101)}
    yield from (("anderson_darling", v, None) for v in sorted(ad))


def check():
    """The formulae against one another and against mpmath's own, before anything is written."""
    for x in (0.5, 1.0, 1.5, 2.0, 4.0):
        assert abs(anderson_upper(x) + anderson_lower(x) - 1) < mpf(10) ** -20, x
    for df in (0.1, 1.0, 5.0, 28.7, 1e3):
        for t in (0.1, 1.0, 3.0, 7.7, 8.0, 20.0):
            x = mpf(df) / (mpf(df) + mpf(t) ** 2)
            want = mp.betainc(mpf(df) / 2, 0.5, 0, x, regularized=True) / 2
            assert abs(student_t(t, df)[0] / want - 1) < mpf(10) ** -25, (t, df)


def main():
    assert mp.__version__ == "1.4.1", mp.__version__
    check()
    rules = {"normal": normal, "student_t": student_t, "anderson_darling": anderson_darling}
    path = pathlib.Path(__file__).with_suffix(".csv")
    with path.open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["function", "x", "df", "sf", "log_sf"])
        for name, x, df in arguments():
            sf, log_sf = rules[name](x) if df is None else rules[name](x, df)
            row = [name, repr(x), "" if df is None else repr(df)]
            table.writerow([*row, mp.nstr(sf, 17), mp.nstr(log_sf, 20)])
    print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
