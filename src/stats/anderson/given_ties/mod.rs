//! The tail of A² given the ties: what counts with many zeros need, where the limit for untied data is
//! wrong by orders of magnitude.
//!
//! # Hypothesis
//! The target's cells are any n1 of the pooled N: all C(N, n1) choices are equally likely.  The pooled
//! runs of equal values are given.
//!
//! # Symbols
//! ```text
//! j = 1..k    runs of equal values, ascending: l_j cells, S_j = l_1 + .. + l_j, B_j = S_j - l_j/2
//! M_j         the target's cells up to run j, its own run counted half
//! V_j         B_j (N - B_j) - N l_j/4;   g_j = l_j / V_j
//! λ_1 > λ_2.. weights of the limit;  τ_i = 1 / (2 λ_i);  s = τ_1 - t
//! ```
//!
//! # The limit
//! Var(M_j - n1 B_j/N) = n1 n2 V_j / (N² (N-1)) exactly, so that A² = Σ (l_j/N) Z_j² with Z_j of variance
//! 1, and E A² = 1 whatever the ties are.  As both samples grow at given shares l_j/N, A² tends to
//! Σ λ_i χ²_1 with k - 1 weights that add up to 1 (Pettitt 1976, Biometrika 63, 161, for two samples;
//! Choulakian, Lockhart and Stephens 1994, Can. J. Stat. 22, 125, doi 10.2307/3315828, for discrete
//! data).  λ_1 is 0.84 to 0.99 for sparse counts and 1/2 where nothing is tied.  With k = 2, A² = Z².
//!
//! The right-continuous version has its terms at the ends of runs: g_j = N/(N-1) l_j / (S_j (N - S_j)),
//! j < k.  Its weights add up to (N - l_k)/(N - 1), which depends on the sign of the data.
//!
//! # No eigenvalues
//! The deviations at the ends of runs are a bridge, whose precision Q is tridiagonal: 1/l_i + 1/l_(i+1)
//! beside -1/l_(i+1).  A² is a quadratic form P of them, tridiagonal too.  Hence
//!
//! ```text
//! D(t) = det(Q - 2 t P) / det Q = Π (1 - 2 t λ_i),     K(t) = -1/2 ln D(t)  for t < τ_1
//! ```
//!
//! and D, D' and D'' come from a recurrence of three terms that divides by nothing.  All λ_i are positive, so
//! that every root of D is real: Laguerre's method started at 0 rises to the smallest root, τ_1, in 2 to 4
//! steps.
//!
//! # The tail (Wood, Booth and Butler 1993, J. Am. Stat. Assoc. 88, 680)
//! The saddlepoint approximation whose base is χ²_1 instead of the normal curve; exact for k = 2:
//!
//! ```text
//! K'(t) = x,   w² = 2 (t x - K(t)),   ξ - 1 - ln ξ = w²,  ξ > 1 where t > 0
//! p = P(χ²_1 > ξ) + e^{-ξ/2} / √(2πξ) [√2 ξ / (t √K''(t)) - 2 ξ / (ξ - 1)]
//! ```
//!
//! Departure: K'(t) = x is solved by K'(t) ≈ 1/(2 s) + c/(s + δ), with c and δ from K' and K'' where D was
//! last evaluated.  1/K' less its first pole is concave, so that the steps come down to the root from
//! above and never leave t < τ_1; for k = 3 the first step is exact.  The bracket is 0 / 0 at the mean:
//! within 1 % of it ln p is interpolated.
//!
//! # Many runs
//! Beyond [`EXACT_RUNS`] runs, those of more than N/64 cells stay, the others are gathered into some 16
//! blocks; see [`Blocks`].
//!
//! # Few cells
//! The limit has n1 grow, which 5 to 500 cells of a target do not do: see [`FewCells`], which brings the
//! rank sum's own tails in.
//!
//! # Degenerate answers
//! | runs, A² | ln p | z |
//! |---|---|---|
//! | no run or one | 0 | 0 |
//! | A² <= 0 | 0 | 0 |
//! | A² NaN | NaN | NaN |
//! | A² above 1e100 | -inf | inf |
//!
//! # Accuracy
//! | p against | | |
//! |---|---|---|
//! | Σ λ_i χ²_1, λ_1 >= 0.92 | 6e-5 at 0.1 | 3e-6 at 1e-3, 3e-7 at 1e-7 |
//! | λ_1 = 0.83 | 1e-3 at 0.1 | 4e-5 at 1e-3, 4e-6 at 1e-8 |
//! | λ_1 = 0.5 | 4 % at 0.3, 2 % at 0.05 | 6e-4 at 1e-5, 6e-5 at 1e-13 |
//! | all runs instead of blocks | 0.5 % at 1e-7 from 30 % zeros on | 0.1 % from 80 % on |
//! | the same, no run of more than N/20 | up to 3 % at 1e-7 | |
//!
//! So where nothing is tied, [`crate::stats::special::anderson_darling`] stays the better choice.  A pair
//! through [`Blocks`] differs by up to 11 % at 1e-7 where both samples are small and full of small ties.
//!
//! Null fraction of p <= 1e-2, 1e-3, 1e-4, 1e-5 over nominal, 1 to 6 million relabellings, N = 10,000, tails
//! of W by saddlepoint:
//!
//! | counts, n1 | untied limit | given the ties | with [`FewCells`] |
//! |---|---|---|---|
//! | Poisson(0.1), 200 | 4.6 14 45 155 | .98 1.2 2.1 3.0 | .98 1.0 .98 1.0 |
//! | 80 % zeros, 50 | 4.1 12 33 111 | .98 1.3 1.9 3.6 | .98 1.0 1.0 1.2 |
//! | 80 % zeros, 20 | 4.3 12 38 138 | 1.1 1.6 2.9 5.2 | 1.1 1.0 1.1 .60 |
//! | 60 % zeros, 20 | 3.6 8.1 18 42 | .98 .81 .80 .83 | 1.0 .88 .85 .82 |
//! | 25 % zeros, 20 | 2.2 3.7 6.2 11 | .96 .90 .86 .72 | .98 .97 1.0 1.1 |
//! | 25 % zeros, 10 | 2.1 3.3 6.1 9.5 | .92 .79 .66 .28 | .97 .94 1.1 1.2 |
//! | Poisson(2), 20 | 2.3 4.0 6.8 13 | 1.0 .97 1.0 1.0 | 1.0 1.0 1.1 1.3 |
//!
//! Cost: see [`Limit::prepare`] and [`Limit::upper_tail`].
//!
//! IMPORTS `stats::special`, `stats::runs`, `stats::conditional`, `crate::cast`.

mod blocks;
mod cumulant;
mod few_cells;
mod form;
mod limit;
mod shared;
mod tail;
#[cfg(test)]
mod tests;

pub use blocks::EXACT_RUNS;
pub use shared::{Scratch, SharedTies};

#[cfg(any(test, feature = "testing"))]
pub use {
    blocks::Blocks,
    few_cells::{FewCells, Scores},
    limit::Limit,
    tail::UpperTail,
};
