//! Gauss quadrature of a discrete measure: a few nodes with the moments of many values.
//!
//! # Symbols
//! ```text
//! x_i, w_i   values, ascending, and their weights (numbers of cells)
//! p_k        monic polynomials, orthogonal on the measure: Σ w p_j p_k = 0 for j ≠ k
//! α_k, β_k   p_{k+1} = (x - α_k) p_k - β_k p_{k-1}
//! ```
//!
//! # Method
//! The recurrence coefficients come from the sums themselves (Stieltjes' procedure; Gautschi 2004,
//! Orthogonal Polynomials, section 2.2.3.1): α_k = Σ w x p_k² / Σ w p_k², β_k = Σ w p_k² / Σ w p_{k-1}².
//! Nodes are the eigenvalues of the symmetric tridiagonal matrix of α and √β, and a node's weight is Σ w
//! times the square of the first component of its eigenvector (Golub and Welsch 1969, Math. Comp. 23,
//! 221), both by QL steps with implicit shifts.  The m nodes have all moments of the values up to
//! 2m - 1.
//!
//! Values are first taken relative to their mean, in units of their largest distance from it, so that
//! sums neither overflow nor lose digits.  Sums run over the values in ascending order: the nodes do not
//! depend on how the values were found.
//!
//! Cost: O(m) passes over the values, O(m²) beside.

use multiversion::multiversion;

/// The largest number of nodes.
pub const MOST_NODES: usize = 12;
/// QL steps for one eigenvalue; two or three are the rule.
const STEPS: usize = 60;

/// Buffers of [`gauss`], reused between calls.
#[derive(Debug, Default, Clone)]
pub struct Polynomials {
    /// Values relative to their mean.
    x: Vec<f64>,
    /// `p_k` and `p_{k-1}` at each value.
    now: Vec<f64>,
    before: Vec<f64>,
}

/// Adds `nodes` nodes, ascending, with the moments of `values` and their `weights` to `out`; the values
/// themselves where they are no more.
///
/// Values are finite and strictly ascending.
///
/// # Examples
/// ```
/// use pdex::stats::conditional::{Polynomials, gauss};
/// let values: Vec<f64> = (0..100).map(f64::from).collect();
/// let mut nodes = Vec::new();
/// gauss(&values, &[1.0; 100], 4, &mut Polynomials::default(), &mut nodes);
/// let moment = |power| nodes.iter().map(|&(x, w): &(f64, f64)| w * x.powi(power)).sum::<f64>();
/// assert!((moment(7) / values.iter().map(|v| v.powi(7)).sum::<f64>() - 1.0).abs() < 1e-13);
/// ```
pub fn gauss(
    values: &[f64],
    weights: &[f64],
    nodes: usize,
    kept: &mut Polynomials,
    out: &mut Vec<(f64, f64)>,
) {
    debug_assert!(values.len() == weights.len() && nodes <= MOST_NODES);
    if values.len() <= nodes {
        return out.extend(values.iter().copied().zip(weights.iter().copied()));
    }
    let (low, high) = (values[0], values[values.len() - 1]);
    // Relative to the lowest value, so that nearby ones keep their digits.
    let total: f64 = weights.iter().sum();
    let above: f64 = values.iter().zip(weights).map(|(x, w)| (x - low) * w).sum();
    let mean = above / total;
    let unit = mean.max((high - low) - mean);
    let Polynomials { x, now, before } = kept;
    x.clear();
    x.extend(values.iter().map(|value| ((value - low) - mean) / unit));
    now.clear();
    now.resize(x.len(), 1.0);
    before.clear();
    before.resize(x.len(), 0.0);
    let mut matrix = Tridiagonal::default();
    let (mut square, mut beta) = (total, 0.0);
    for k in 0..nodes {
        let alpha = moment(x, weights, now) / square;
        matrix.diagonal[k] = alpha;
        matrix.nodes = k + 1;
        if k + 1 == nodes {
            break;
        }
        let next = advance(x, weights, (alpha, beta), (now, before));
        // The values are more than the nodes, so that it is 0 by rounding alone.
        if next.is_nan() || next <= square * f64::EPSILON * f64::EPSILON {
            break;
        }
        std::mem::swap(now, before);
        beta = next / square;
        matrix.beside[k] = beta.sqrt();
        square = next;
    }
    matrix.diagonalize();
    let found = matrix.diagonal.iter().zip(&matrix.first).take(matrix.nodes);
    let start = out.len();
    out.extend(found.map(|(x, first)| (low + (mean + x * unit), total * first * first)));
    out[start..].sort_by(|a, b| a.0.total_cmp(&b.0));
}

/// Σ w x p².
#[multiversion(targets = "simd")]
fn moment(x: &[f64], weights: &[f64], p: &[f64]) -> f64 {
    let mut lanes = [0.0; 4];
    let (xs, ws, ps) = (x.as_chunks::<4>(), weights.as_chunks::<4>(), p.as_chunks::<4>());
    for ((x, w), p) in xs.0.iter().zip(ws.0).zip(ps.0) {
        for i in 0..4 {
            lanes[i] += w[i] * x[i] * (p[i] * p[i]);
        }
    }
    for ((x, w), p) in xs.1.iter().zip(ws.1).zip(ps.1) {
        lanes[0] += w * x * (p * p);
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

/// Puts `p_{k+1}` in the place of `p_{k-1}`; returns Σ w p².
#[multiversion(targets = "simd")]
fn advance(
    x: &[f64],
    weights: &[f64],
    (alpha, beta): (f64, f64),
    (now, before): (&[f64], &mut [f64]),
) -> f64 {
    let mut lanes = [0.0; 4];
    let (xs, ws, ps) = (x.as_chunks::<4>(), weights.as_chunks::<4>(), now.as_chunks::<4>());
    let bs = before.as_chunks_mut::<4>();
    for (((x, w), p), b) in xs.0.iter().zip(ws.0).zip(ps.0).zip(bs.0) {
        for i in 0..4 {
            let next = (x[i] - alpha) * p[i] - beta * b[i];
            b[i] = next;
            lanes[i] += w[i] * (next * next);
        }
    }
    for (((x, w), p), b) in xs.1.iter().zip(ws.1).zip(ps.1).zip(bs.1) {
        let next = (x - alpha) * p - beta * *b;
        *b = next;
        lanes[0] += w * (next * next);
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

/// A symmetric tridiagonal matrix; once diagonalized, its eigenvalues and the first components of their
/// eigenvectors.
#[derive(Debug, Default)]
struct Tridiagonal {
    nodes: usize,
    diagonal: [f64; MOST_NODES],
    /// `beside[k]` stands between `diagonal[k]` and the next.
    beside: [f64; MOST_NODES],
    first: [f64; MOST_NODES],
}

impl Tridiagonal {
    fn diagonalize(&mut self) {
        self.first = [0.0; MOST_NODES];
        self.first[0] = 1.0;
        self.beside[self.nodes - 1] = 0.0;
        for from in 0..self.nodes {
            for _ in 0..STEPS {
                let to = self.block(from);
                if to == from {
                    break;
                }
                self.step(from, to);
            }
        }
    }

    /// The last row of the block that begins with row `from`.
    fn block(&self, from: usize) -> usize {
        let small = |k: usize| {
            let sizes = self.diagonal[k].abs() + self.diagonal[k + 1].abs();
            self.beside[k].abs() <= f64::EPSILON * sizes
        };
        (from..self.nodes - 1).find(|&k| small(k)).unwrap_or(self.nodes - 1)
    }

    /// One QL step with an implicit shift on rows `from..=to` (Wilkinson's; EISPACK's imtql2).
    fn step(&mut self, from: usize, to: usize) {
        let Self { diagonal: d, beside: e, first: z, .. } = self;
        let slope = (d[from + 1] - d[from]) / (2.0 * e[from]);
        let root = (slope * slope + 1.0).sqrt().copysign(slope);
        let mut g = d[to] - d[from] + e[from] / (slope + root);
        let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
        for i in (from..to).rev() {
            let (f, b) = (s * e[i], c * e[i]);
            let r = (f * f + g * g).sqrt();
            e[i + 1] = r;
            if r == 0.0 {
                d[i + 1] -= p;
                e[to] = 0.0;
                return;
            }
            (s, c) = (f / r, g / r);
            g = d[i + 1] - p;
            let r = (d[i] - g) * s + 2.0 * c * b;
            p = s * r;
            d[i + 1] = g + p;
            g = c * r - b;
            (z[i + 1], z[i]) = (s * z[i] + c * z[i + 1], c * z[i] - s * z[i + 1]);
        }
        d[from] -= p;
        e[from] = g;
        e[to] = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// All moments up to 2m - 1, of values anywhere and weights of any size.
        #[test]
        fn nodes_have_the_moments_of_the_values(
            drawn in prop::collection::vec((-1f64..1.0, 1u32..2000), 1..200), nodes in 1usize..=12,
            shift in prop::sample::select(vec![0.0, 5.0, -300.0, 1e6]),
        ) {
            let mut drawn: Vec<(f64, f64)> = drawn.into_iter().map(|(x, w)| (x * x * x + shift, f64::from(w))).collect();
            drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
            drawn.dedup_by(|a, b| a.0 == b.0);
            let (x, w): (Vec<f64>, Vec<f64>) = drawn.iter().copied().unzip();
            let mut found = Vec::new();
            gauss(&x, &w, nodes, &mut Polynomials::default(), &mut found);
            prop_assert_eq!(found.len(), nodes.min(x.len()));
            prop_assert!(found.iter().all(|&(node, weight)| weight > 0.0 && node >= x[0] - 1e-9 && node <= x[x.len() - 1] + 1e-9));
            prop_assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
            // About the shift: moments of numbers up to 1.
            let moment = |of: &[(f64, f64)], power| of.iter().map(|(x, w)| w * (x - shift).powi(power)).sum::<f64>();
            for power in 0..2 * nodes as i32 {
                let (got, want) = (moment(&found, power), moment(&drawn, power));
                let size: f64 = drawn.iter().map(|(x, w)| w * (x - shift).powi(power).abs()).sum();
                // Values at 1e6 have ten digits less.
                let allowed = if shift > 1e5 { 1e-8 } else { 1e-12 };
                prop_assert!((got - want).abs() <= allowed * size.max(1.0), "{power}: {got} {want}");
            }
        }
    }

    #[test]
    fn one_far_value_keeps_its_weight() {
        let mut values: Vec<f64> = (0..500).map(|i| f64::from(i) / 500.0).collect();
        values.push(1e6);
        let mut found = Vec::new();
        gauss(&values, &[1.0; 501], 8, &mut Polynomials::default(), &mut found);
        // Rounding may give it two nodes, next to each other.
        let far: f64 =
            found.iter().filter(|node| (node.0 - 1e6).abs() < 1e-6).map(|node| node.1).sum();
        assert!((far - 1.0).abs() < 1e-9, "{found:?}");
        assert!((found.iter().map(|node| node.1).sum::<f64>() - 501.0).abs() < 1e-9);
    }
}
