//! D(t) = Π (1 - 2 t λ_i) by recurrence, its smallest root, and the solution of K'(t) = x.
//!
//! With the knots i = 1..m between pieces of h_i and h_(i+1) cells, S_i cells below, and r_i the leading
//! minor of order i of Q - 2 t P over that of Q (so that r_i(0) = 1 and r_m = D):
//!
//! ```text
//! r_i = (1 + κ_i - t α_i) r_(i-1) - κ_i (1 + t γ_i)² r_(i-2),     r_0 = 1,  κ_1 = 0
//! κ_i = S_(i-1) h_(i+1) / (h_i S_(i+1)),   α_i = 2 P_ii S_i h_(i+1) / S_(i+1),   γ_i = 2 P_(i-1,i) h_i
//! ```
//!
//! r_i - 1 is what is carried: it is 0 at t = 0, so that ln D keeps its digits for small t.

/// What the recurrence takes at one knot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) kappa: f64,
    pub(super) alpha: f64,
    pub(super) gamma: f64,
}

/// D - 1, D' and D'' at t.
fn determinant(steps: &[Step], t: f64) -> [f64; 3] {
    // r - 1, r' and r'' of the last two minors.
    let (mut last, mut before) = ([0.0; 3], [-1.0, 0.0, 0.0]);
    for &Step { kappa, alpha, gamma } in steps {
        let bend = t * gamma;
        let a = 1.0 + kappa - t * alpha;
        // κ (1 + t γ)², its derivatives, and what r - 1 takes at r = 1.
        let b = kappa * (1.0 + bend) * (1.0 + bend);
        let b1 = 2.0 * kappa * gamma * (1.0 + bend);
        let b2 = 2.0 * kappa * gamma * gamma;
        let c = -t * alpha - kappa * bend * (2.0 + bend);
        // All but the first product of each is known a step ahead.
        let (r, r2) = (1.0 + last[0], 1.0 + before[0]);
        let next = [
            (c - b * before[0]) + a * last[0],
            (-alpha * r - b * before[1] - b1 * r2) + a * last[1],
            (-2.0 * (alpha * last[1] + b1 * before[1]) - b * before[2] - b2 * r2) + a * last[2],
        ];
        (before, last) = (last, next);
    }
    last
}

/// The weights of a limit, as far as its tail asks for them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weights {
    /// Σ λ.
    pub(super) sum: f64,
    /// Σ λ².
    pub(super) squares: f64,
    /// λ_1.
    pub(super) largest: f64,
    /// τ_1.
    pole: f64,
}

/// Laguerre's steps at most; each leaves the cube of the error before.
const LAGUERRE: usize = 40;

impl Weights {
    pub(super) fn of(steps: &[Step]) -> Self {
        if let [Step { alpha, .. }] = *steps {
            let weight = 0.5 * alpha;
            return Self {
                sum: weight,
                squares: weight * weight,
                largest: weight,
                pole: 1.0 / alpha,
            };
        }
        let [_, first, second] = determinant(steps, 0.0);
        let sum = -0.5 * first;
        let squares = sum * sum - 0.25 * second;
        let degree = crate::cast::real_length(steps.len());
        let mut pole = laguerre(degree, -first, first * first - second);
        // Two roots are found in one step.
        let more = if steps.len() == 2 { 0 } else { LAGUERRE };
        for _ in 0..more {
            let [less, first, second] = determinant(steps, pole);
            let d = 1.0 + less;
            let slope = -first / d;
            // At the root but for rounding.
            if d <= 0.0 || slope <= 0.0 {
                break;
            }
            let step = laguerre(degree, slope, slope * slope - second / d);
            pole += step;
            if step < 1e-4 * pole {
                break;
            }
        }
        Self { sum, squares, largest: 0.5 / pole, pole }
    }
}

/// From Σ 1/(τ_i - t) and Σ 1/(τ_i - t)²: how far the smallest root is at least.
fn laguerre(degree: f64, sum: f64, squares: f64) -> f64 {
    let spread = ((degree - 1.0) * (degree * squares - sum * sum)).max(0.0);
    degree / (sum + spread.sqrt())
}

/// K'(t) where 1 - 2 t λ_1 = 1/z².
pub(super) fn mean_at(steps: &[Step], weights: &Weights, z: f64) -> f64 {
    if steps.len() == 1 {
        return weights.largest * z * z;
    }
    let [less, first, _] = determinant(steps, weights.pole * (1.0 - 1.0 / (z * z)));
    -0.5 * first / (1.0 + less)
}

/// K'(t) ≈ 1/(2 s) + c/(s + δ), s = τ_1 - t.
#[derive(Debug, Clone, Copy)]
struct TwoPoles {
    c: f64,
    /// Infinite where the rest of K' is taken as a constant.
    delta: f64,
    constant: f64,
}

impl TwoPoles {
    /// From the rest of K' and of K'' at some s, without the first pole.
    fn through(s: f64, rest: f64, slope: f64) -> Self {
        // Rounding alone brings the second pole below the first.
        if slope > 0.0 && rest > s * slope {
            Self { c: rest * rest / slope, delta: rest / slope - s, constant: 0.0 }
        } else {
            Self { c: 0.0, delta: f64::INFINITY, constant: rest.max(0.0) }
        }
    }

    /// s where K' = x; infinite where there is none.
    fn solve(self, x: f64) -> f64 {
        if self.delta.is_infinite() {
            return 0.5 / (x - self.constant).max(0.0);
        }
        let b = 0.5 + self.c - x * self.delta;
        let root = (b * b + 2.0 * x * self.delta).sqrt();
        if b > 0.0 { (b + root) / (2.0 * x) } else { self.delta / (root - b) }
    }

    /// K at `s`, from D - 1 at `from`.
    fn cumulant(self, s: f64, (from, less): (f64, f64)) -> f64 {
        let change = (s - from) / from;
        // Far below, 1 + change is rounded.
        let first = if change < -0.5 {
            less.ln_1p() + (s / from).ln()
        } else {
            (less + change + less * change).ln_1p()
        };
        let first = -0.5 * first;
        if self.delta.is_infinite() {
            return first + self.constant * (from - s);
        }
        let far = (s - from) / (from + self.delta);
        first - self.c * far.ln_1p()
    }

    /// √(K''/2) at s.
    fn spread(self, s: f64) -> f64 {
        // 0 where δ is infinite.
        let far = s / (s + self.delta);
        (0.25 + 0.5 * self.c * far * far).sqrt() / s
    }
}

/// The saddlepoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saddle {
    pub(super) t: f64,
    /// 1 - 2 t λ_1.
    pub(super) left: f64,
    /// w² = 2 (t x - K).
    pub(super) dual: f64,
    /// √(K''/2).
    pub(super) spread: f64,
}

/// Evaluations of D at most; 1 or 2 but for x close to 0.
const EVALUATIONS: usize = 50;
/// The model holds over such a relative change of s: its third derivative alone is off.
const ENOUGH: f64 = 1e-3;
/// D is not evaluated closer to its root, relative to τ_1: rounding would show.
const CLOSEST: f64 = 1e-6;

/// The solution of K'(t) = x, x > 0; `None` where D overflows: x is that close to 0.
pub(super) fn solve(steps: &[Step], weights: &Weights, x: f64) -> Option<Saddle> {
    let &Weights { sum, squares, largest, pole } = weights;
    let slope = 2.0 * (squares - largest * largest);
    let mut model = TwoPoles::through(pole, sum - largest, slope);
    let mut s = model.solve(x);
    // Where D was last evaluated, and D - 1.
    let mut at = (pole, 0.0);
    if steps.len() > 2 {
        for _ in 0..EVALUATIONS {
            let from = s.max(CLOSEST * pole);
            let [less, first, second] = determinant(steps, pole - from);
            let d = 1.0 + less;
            let (k1, bend) = (-0.5 * first / d, second / d);
            let k2 = 2.0 * k1 * k1 - 0.5 * bend;
            at = (from, less);
            if !(d > 0.0 && k2.is_finite()) {
                return None;
            }
            model = TwoPoles::through(from, k1 - 0.5 / from, k2 - 0.5 / (from * from));
            s = model.solve(x);
            if s < CLOSEST * pole || (s - from).abs() < ENOUGH * s {
                break;
            }
        }
    }
    if s.is_infinite() {
        return None;
    }
    let t = pole - s;
    let dual = 2.0 * (t * x - model.cumulant(s, at));
    Some(Saddle { t, left: s / pole, dual: dual.max(0.0), spread: model.spread(s) })
}
