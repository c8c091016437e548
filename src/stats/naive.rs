//! The definitions, literally: quadratic loops over plain samples, one truth for every kernel.
//!
//! Nothing here is fast, and nothing here shares code with what it is compared to.

// Lengths and ranks as f64, exact below 2^53.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use super::ks::Distance;
use super::runs::{OwnRun, SharedRuns};
use super::wilcoxon::RankSum;

/// U1 by counting pairs and Σ(t³ - t) by counting each value, zeros listed like all others.
///
/// # Examples
/// ```
/// let sums = pdex::stats::naive::rank_sum(&[3.0, 4.0, 5.0], &[1.0, 2.0, 3.0]);
/// assert_eq!((sums.twice_u, sums.ties), (17, 6));
/// ```
#[must_use]
pub fn rank_sum(x: &[f64], y: &[f64]) -> RankSum {
    let mut twice_u = 0;
    for a in x {
        for b in y {
            twice_u += if a > b { 2 } else { u64::from(a == b) };
        }
    }
    let ties = runs(x, y).iter().map(|&(a, b)| u128::from(a + b).pow(3) - u128::from(a + b)).sum();
    RankSum { n_target: x.len() as u64, n_reference: y.len() as u64, twice_u, ties }
}

/// What van Elteren's score is made of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VanElteren {
    /// Σ U / (N + 1).
    pub statistic: f64,
    /// Σ (W - n1 (N + 1) / 2) / (N + 1), W the rank sum.
    pub excess: f64,
    /// Its variance over all ways to label each stratum's cells.
    pub variance: f64,
}

/// Van Elteren's sums from the midranks of each stratum's samples; `None` where no stratum has both.
#[must_use]
pub fn van_elteren(strata: &[(Vec<f64>, Vec<f64>)]) -> Option<VanElteren> {
    let mut all = VanElteren::default();
    let mut found = false;
    for (x, y) in strata.iter().filter(|(x, y)| !x.is_empty() && !y.is_empty()) {
        found = true;
        let pooled: Vec<f64> = x.iter().chain(y).copied().collect();
        let midrank = |v: &f64| {
            let below = pooled.iter().filter(|w| *w < v).count() as f64;
            let equal = pooled.iter().filter(|w| *w == v).count() as f64;
            below + f64::midpoint(equal, 1.0)
        };
        let (n1, n2, n) = (x.len() as f64, y.len() as f64, pooled.len() as f64);
        let rank_sum: f64 = x.iter().map(midrank).sum();
        let mean = f64::midpoint(n, 1.0);
        let spread: f64 = pooled.iter().map(|v| (midrank(v) - mean).powi(2)).sum();
        all.statistic += (rank_sum - n1 * (n1 + 1.0) / 2.0) / (n + 1.0);
        all.excess += (rank_sum - n1 * mean) / (n + 1.0);
        // Of n1 ranks drawn without replacement.
        all.variance += n1 * n2 / (n * (n - 1.0)) * spread / (n + 1.0).powi(2);
    }
    found.then_some(all)
}

/// Visits all ways to choose the targets, as many as said, among each stratum's cells.
pub fn relabellings(strata: &[(Vec<u8>, usize)], visit: &mut impl FnMut(&[(Vec<f64>, Vec<f64>)])) {
    fn go(
        strata: &[(Vec<u8>, usize)],
        chosen: &mut Vec<(Vec<f64>, Vec<f64>)>,
        visit: &mut impl FnMut(&[(Vec<f64>, Vec<f64>)]),
    ) {
        let Some(((cells, targets), others)) = strata.split_first() else { return visit(chosen) };
        for mask in (0u32..1 << cells.len()).filter(|mask| mask.count_ones() as usize == *targets) {
            let pick = |wanted: bool| {
                let kept = cells.iter().enumerate().filter(|(i, _)| (mask >> i & 1 == 1) == wanted);
                kept.map(|(_, &v)| f64::from(v)).collect()
            };
            chosen.push((pick(true), pick(false)));
            go(others, chosen, visit);
            chosen.pop();
        }
    }
    go(strata, &mut Vec::new(), visit);
}

/// Every value of Σ a s, ascending, with its probability: strata of (cells, scores, target's cells),
/// whose target's cells are any of all.
#[must_use]
pub fn linear_distribution(strata: &[(Vec<f64>, Vec<f64>, f64)]) -> Vec<(f64, f64)> {
    fn choose(n: f64, k: f64) -> f64 {
        let mut ways = 1.0;
        for i in 1..=k as u32 {
            ways *= (n - k + f64::from(i)) / f64::from(i);
        }
        ways
    }
    let mut all = vec![(0.0, 1.0)];
    for (cells, scores, n_target) in strata {
        // By how many cells are chosen so far: (sum, ways).
        let mut chosen = vec![Vec::new(); *n_target as usize + 1];
        chosen[0].push((0.0, 1.0));
        for (&l, &s) in cells.iter().zip(scores) {
            let mut next = vec![Vec::new(); chosen.len()];
            for (m, states) in chosen.iter().enumerate() {
                for a in 0..=(l as usize).min(chosen.len() - 1 - m) {
                    let ways = choose(l, a as f64);
                    let add = |&(t, p): &(f64, f64)| (t + a as f64 * s, p * ways);
                    next[m + a].extend(states.iter().map(add));
                }
            }
            chosen = next.into_iter().map(merged).collect();
        }
        let total = choose(cells.iter().sum(), *n_target);
        let own = chosen.pop().unwrap_or_default();
        let pairs =
            all.iter().flat_map(|&(t, p)| own.iter().map(move |&(u, q)| (t + u, p * (q / total))));
        all = merged(pairs.collect());
    }
    all
}

/// Sums ascending, equal ones as one.
fn merged(mut states: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    states.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut out: Vec<(f64, f64)> = Vec::with_capacity(states.len());
    for (t, p) in states {
        match out.last_mut() {
            Some(last) if t - last.0 < 1e-9 => last.1 += p,
            _ => out.push((t, p)),
        }
    }
    out
}

/// How many of `x` and of `y` have each distinct value, ascending; -0.0 equals 0.0.
#[must_use]
pub fn runs(x: &[f64], y: &[f64]) -> Vec<(u64, u64)> {
    let mut distinct: Vec<f64> = x.iter().chain(y).map(|v| v + 0.0).collect();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    let count = |sample: &[f64], v: f64| sample.iter().filter(|&&a| a == v).count() as u64;
    distinct.iter().map(|&v| (count(x, v), count(y, v))).collect()
}

/// n1 and n2 of runs as [`runs`] gives them.
#[must_use]
pub fn sizes(runs: &[(u64, u64)]) -> (u64, u64) {
    runs.iter().fold((0, 0), |(n1, n2), (target, other)| (n1 + target, n2 + other))
}

/// The shared and own runs of a pair, from (target, other) cells of each value, ascending.
#[must_use]
pub fn pair_runs(runs: &[(u64, u64)], pooled: bool) -> (SharedRuns, Vec<OwnRun>) {
    let (mut shared, mut own) = (SharedRuns::default(), Vec::new());
    for &(target, other) in runs {
        let cells = if pooled { target + other } else { other };
        let (at, count) = (shared.len(), u32::try_from(target).unwrap_or(u32::MAX));
        shared.push(cells);
        match (target, cells) {
            (0, _) => {}
            (_, 0) => own.push(OwnRun::alone(at, count)),
            _ => own.push(OwnRun::shared(at, count)),
        }
    }
    (shared, own)
}

/// A² of Scholz and Stephens (1987), eq. 7 (midrank) or eq. 6, summed over both samples.
#[must_use]
pub fn anderson_a_squared(x: &[f64], y: &[f64], midrank: bool) -> f64 {
    let pooled: Vec<f64> = x.iter().chain(y).copied().collect();
    let n = pooled.len() as f64;
    let mut distinct = pooled.clone();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    if !midrank {
        distinct.pop();
    }
    let mut sum = 0.0;
    for sample in [x, y] {
        let size = sample.len() as f64;
        for &z in &distinct {
            let equal = |s: &[f64]| s.iter().filter(|&&v| v == z).count() as f64;
            let below = |s: &[f64]| s.iter().filter(|&&v| v < z).count() as f64;
            let half = if midrank { 0.5 } else { 1.0 };
            let (l, b) = (equal(&pooled), below(&pooled) + half * equal(&pooled));
            let m = below(sample) + half * equal(sample);
            let spread = b * (n - b) - if midrank { n * l / 4.0 } else { 0.0 };
            sum += l / n * (n * m - b * size).powi(2) / spread / size;
        }
    }
    if midrank { sum * (n - 1.0) / n } else { sum }
}

/// max (n2 M - n1 R) and max (n1 R - n2 M), by counting at each value.
#[must_use]
pub fn ks_distance(x: &[f64], y: &[f64]) -> Distance {
    let (n_target, n_reference) = (x.len() as u64, y.len() as u64);
    let (mut above, mut below) = (0, 0);
    for v in x.iter().chain(y) {
        let count = |sample: &[f64]| sample.iter().filter(|w| *w <= v).count() as u64;
        let (m, r) = (n_reference * count(x), n_target * count(y));
        above = above.max(m.saturating_sub(r));
        below = below.max(r.saturating_sub(m));
    }
    Distance { n_target, n_reference, above, below }
}

/// Σx/n and Σ(x - mean)².
#[must_use]
pub fn mean_and_squares(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum())
}

/// The number of arrangements with U = 0, 1, … mn, by f(m, n, u) = f(m-1, n, u-n) + f(m, n-1, u)
/// (Mann and Whitney 1947, eq. 2).
#[must_use]
pub fn rank_sum_counts(m: usize, n: usize) -> Vec<u128> {
    // table[j][u] for the current number of x values and j values of y.
    let mut table = vec![vec![1u128]; n + 1];
    for i in 1..=m {
        let mut next = vec![vec![1u128]];
        for j in 1..=n {
            let mut counts = vec![0u128; i * j + 1];
            for (u, &c) in table[j].iter().enumerate() {
                counts[u + j] += c;
            }
            for (u, &c) in next[j - 1].iter().enumerate() {
                counts[u] += c;
            }
            next.push(counts);
        }
        table = next;
    }
    table.swap_remove(n)
}

/// The probability of U = 0, 1, … mn, by P(m, n, u) = (m P(m-1, n, u-n) + n P(m, n-1, u))/(m + n):
/// the recursion of [`rank_sum_counts`] where counts leave u128.
#[must_use]
pub fn rank_sum_probabilities(m: usize, n: usize) -> Vec<f64> {
    let mut table = vec![vec![1.0]; n + 1];
    for i in 1..=m {
        let mut next = vec![vec![1.0]];
        for j in 1..=n {
            let (x, y) = (i as f64 / (i + j) as f64, j as f64 / (i + j) as f64);
            let mut p = vec![0.0; i * j + 1];
            for (u, &before) in table[j].iter().enumerate() {
                p[u + j] += x * before;
            }
            for (u, &before) in next[j - 1].iter().enumerate() {
                p[u] += y * before;
            }
            next.push(p);
        }
        table = next;
    }
    table.swap_remove(n)
}

/// min over j >= i of min(1, m p_(j) / j), by looking at all j for each i.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let m = p.iter().filter(|v| !v.is_nan()).count() as f64;
    let rank = |v: f64| p.iter().filter(|&&w| w <= v).count() as f64;
    let adjusted = |v: f64| {
        let larger = p.iter().filter(|&&w| w >= v);
        larger.map(|&w| (m * w / rank(w)).min(1.0)).fold(f64::INFINITY, f64::min)
    };
    p.iter().map(|&v| if v.is_nan() { v } else { adjusted(v) }).collect()
}

/// Student's or Welch's t from two plain means and sums of squares.
#[must_use]
pub fn t_statistic(x: &[f64], y: &[f64], equal_var: bool) -> f64 {
    let (n1, n2) = (x.len() as f64, y.len() as f64);
    let ((mean_x, m2_x), (mean_y, m2_y)) = (mean_and_squares(x), mean_and_squares(y));
    let square = if equal_var {
        (m2_x + m2_y) / (n1 + n2 - 2.0) * (1.0 / n1 + 1.0 / n2)
    } else {
        m2_x / (n1 - 1.0) / n1 + m2_y / (n2 - 1.0) / n2
    };
    (mean_x - mean_y) / square.sqrt()
}

/// P(T ≥ t) and P(T ≤ t) of the sum of `x` over all ways to choose as many of both samples' values.
#[must_use]
pub fn permutation_tails(x: &[f64], y: &[f64]) -> (f64, f64) {
    let pooled: Vec<f64> = x.iter().chain(y).copied().collect();
    let size = pooled.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    let (t, tolerance) = (x.iter().sum::<f64>(), 1e-10 * size * pooled.len() as f64);
    let (mut all, mut up, mut down) = (0.0, 0.0, 0.0);
    for mask in (0u32..1 << pooled.len()).filter(|mask| mask.count_ones() as usize == x.len()) {
        let chosen = pooled.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
        let sum: f64 = chosen.map(|(_, v)| v).sum();
        all += 1.0;
        up += f64::from(u8::from(sum >= t - tolerance));
        down += f64::from(u8::from(sum <= t + tolerance));
    }
    (up / all, down / all)
}

/// The weights of the limit of A² given the ties, falling: the eigenvalues, by Jacobi's rotations, of the
/// covariance of the terms whose squares A² adds up.
#[must_use]
pub fn anderson_weights(cells: &[u32], midrank: bool) -> Vec<f64> {
    let k = cells.len() - usize::from(!midrank);
    let l: Vec<f64> = cells.iter().map(|&l| f64::from(l)).collect();
    let n: f64 = l.iter().sum();
    let own = if midrank { 0.5 } else { 1.0 };
    // How much of run v counts in M_j.
    let part = |j: usize, v: usize| if v < j { 1.0 } else { f64::from(u8::from(v == j)) * own };
    let below = |j: usize| (0..l.len()).map(|v| part(j, v) * l[v]).sum::<f64>();
    let scale = |j: usize| {
        let b = below(j);
        let spread = b * (n - b) - if midrank { n * l[j] / 4.0 } else { 0.0 };
        // A² = N (N-1) / (n1 n2) Σ l (M - n1 B/N)² / spread, less (N-1)/N for eq. 6.
        (l[j] / spread * n * if midrank { n - 1.0 } else { n }).sqrt()
    };
    // Cov(a_u, a_v) = n1 n2 / (N² (N-1)) (N l_u [u = v] - l_u l_v).
    let covariance = |i: usize, j: usize| {
        let both: f64 = (0..l.len()).map(|v| part(i, v) * part(j, v) * l[v]).sum();
        scale(i) * scale(j) * (n * both - below(i) * below(j)) / (n * n * (n - 1.0))
    };
    let row = |i| (0..k).map(|j| covariance(i, j)).collect();
    let mut weights = eigenvalues((0..k).map(row).collect());
    weights.sort_by(|a, b| b.total_cmp(a));
    // The terms of the midrank version are k, of rank k - 1.
    weights.truncate(cells.len() - 1);
    weights
}

/// The eigenvalues of a symmetric matrix.
fn eigenvalues(mut a: Vec<Vec<f64>>) -> Vec<f64> {
    let k = a.len();
    for _ in 0..40 {
        for p in 0..k {
            for q in p + 1..k {
                if a[p][q].abs() < 1e-300 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (above, from) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut from[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    (0..k).map(|i| a[i][i]).collect()
}

/// ln P(Σ λ_i χ²_1 > x), inverting the moment generating function along a parabola through the real
/// point that the largest weight alone would ask for: 1/(2πi) ∫ e^{K(z) - z x} / z dz.
#[must_use]
pub fn ln_mixture_tail(weights: &[f64], x: f64) -> f64 {
    let pole = 0.5 / weights.iter().fold(0.0f64, |a, &b| a.max(b));
    let t = (pole - 0.5 / x).max(0.02 * pole);
    // K at t + i u + c u², as modulus and angle.
    let cumulant = |re: f64, im: f64| {
        let part = |w: &f64| {
            let (a, b) = (1.0 - 2.0 * w * re, -2.0 * w * im);
            (-0.5 * a.hypot(b).ln(), -0.5 * b.atan2(a))
        };
        weights.iter().map(part).fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let start = cumulant(t, 0.0).0 - t * x;
    let scale = (pole - t).min(t);
    let (step, curve) = (0.01, 0.1 / scale);
    let mut sum = 0.0;
    // Points half a step off the axis: the lower half is the conjugate of the upper one.
    for i in 0..20_000 {
        let u = scale * step * (f64::from(i) + 0.5);
        let (re, im) = (t + curve * u * u, u);
        let k = cumulant(re, im);
        let modulus = (k.0 - re * x - start).exp();
        let angle = k.1 - im * x;
        // e^{i angle} (2 c u + i) / (re + i im), its imaginary part.
        let (sin, cos) = angle.sin_cos();
        let (up, along) = (2.0 * curve * u, 1.0);
        let (a, b) = (cos * up - sin * along, sin * up + cos * along);
        sum += modulus * (b * re - a * im) / (re * re + im * im);
    }
    (sum * scale * step / std::f64::consts::PI).ln() + start
}

/// Every way to choose the target's cells from runs, as its numbers of cells and its probability.
#[must_use]
pub fn compositions(cells: &[u32], n_target: u32) -> Vec<(Vec<u32>, f64)> {
    fn choose(n: u32, k: u32) -> f64 {
        (1..=k).map(|i| f64::from(n - k + i) / f64::from(i)).product()
    }
    fn fill(cells: &[u32], left: u32, own: &mut Vec<u32>, p: f64, out: &mut Vec<(Vec<u32>, f64)>) {
        let Some((&l, more)) = cells.split_first() else {
            if left == 0 {
                out.push((own.clone(), p));
            }
            return;
        };
        for a in 0..=l.min(left) {
            own.push(a);
            fill(more, left - a, own, p * choose(l, a), out);
            own.pop();
        }
    }
    let mut out = Vec::new();
    let all = choose(cells.iter().sum(), n_target);
    fill(cells, n_target, &mut Vec::new(), 1.0 / all, &mut out);
    out
}
