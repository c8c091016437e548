//! The quadratic form of a pool's pieces, and the recurrence of its determinant.

use super::blocks::Piece;
use super::cumulant::Step;

/// A piece of the pool, and its share of the quadratic form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// h.
    pub(super) cells: f64,
    /// The weight of the squared mean of the deviations at its two ends.
    pub(super) edge: f64,
    /// The weight of the squared deviation at its upper end.
    pub(super) point: f64,
}

/// The quadratic form of `pieces`, which hold n cells, at least two of them.
pub(super) fn form(pieces: &[Piece], n: f64, midrank: bool, nodes: &mut Vec<Node>) {
    nodes.clear();
    let right = n / (n - 1.0);
    let mut below = 0.0;
    for piece in pieces {
        let l = piece.cells;
        let above = below + l;
        let mut node = Node { cells: l, edge: 0.0, point: 0.0 };
        if piece.runs == 1 && midrank {
            let b = below + 0.5 * l;
            node.edge = l / (b * (n - b) - 0.25 * n * l);
        } else {
            let (lower, upper) = match (piece.runs, midrank) {
                (1, _) => (0.0, right * l),
                (_, true) => (0.5 * (l + piece.fine), 0.5 * (l + piece.fine)),
                (_, false) => {
                    let run = piece.fine / l;
                    (0.5 * right * (l - run), 0.5 * right * (l + run))
                }
            };
            // At both ends of the pool the deviation is 0.
            if let Some(before) = nodes.last_mut() {
                before.point += lower / (below * (n - below));
            }
            if above < n {
                node.point = upper / (above * (n - above));
            }
        }
        nodes.push(node);
        below = above;
    }
}

/// The coefficients of the recurrence.
pub(super) fn recurrence(nodes: &[Node], steps: &mut Vec<Step>) {
    let mut below = 0.0;
    steps.clear();
    steps.extend(nodes.windows(2).map(|pair| {
        let (a, b) = (&pair[0], &pair[1]);
        let s = below + a.cells;
        let share = b.cells / (s + b.cells);
        let diagonal = 0.25 * (a.edge + b.edge) + a.point;
        let kappa = below * share / a.cells;
        below = s;
        Step { kappa, alpha: 2.0 * diagonal * s * share, gamma: 0.5 * a.edge * a.cells }
    }));
}
