//! Moments of many groups at once, and for each group the moments of all other groups.
//!
//! The header of [`super`] describes the method, its accuracy and the degenerate cases.

use super::{Moments, PowerSums};
use crate::stats::double_double::{exponent, power_of_two};

/// Computes the moments of many groups from one list of (group, value, weight).
///
/// Buffers are reused between calls.
#[derive(Debug, Default)]
pub struct GroupMoments {
    /// Moments of each group, set by [`GroupMoments::run`].
    pub moments: Vec<Moments>,
    /// For each group, moments of all other groups; set by [`GroupMoments::leave_one_out`].
    pub others: Vec<Moments>,
    sums: Vec<PowerSums>,
    /// For each group, the sums of all other groups.
    other_sums: Vec<PowerSums>,
    again: Vec<Again>,
}

/// State of the second pass over one group.
#[derive(Debug, Clone, Copy, Default)]
struct Again {
    wanted: bool,
    /// The group's first value, once seen.
    origin: Option<f64>,
    /// The largest |value|.
    largest: f64,
    /// Values are divided by 2^scale.
    scale: i32,
    about: PowerSums,
}

impl GroupMoments {
    /// Computes the moments of all groups. `entry(i)` is (group, value, weight) for i below
    /// `length`; group g has `zeros[g]` more values of 0.
    ///
    /// # Panics
    /// Panics if a group is not below the length of `zeros`.
    pub fn run(
        &mut self,
        zeros: &[u64],
        length: usize,
        entry: impl Fn(usize) -> (usize, f64, u64),
    ) {
        self.sums.clear();
        self.sums.extend(zeros.iter().map(|&n| PowerSums { n, ..PowerSums::default() }));
        for i in 0..length {
            let (group, value, weight) = entry(i);
            self.sums[group].push(value, weight);
        }
        self.moments.clear();
        self.moments.extend(self.sums.iter().map(PowerSums::moments));
        let mut states = self.sums.iter().zip(&self.moments);
        if states.any(|(sums, state)| sums.is_ill_conditioned(state.m2)) {
            self.look_again(zeros, length, &entry);
        }
    }

    /// The second pass: recomputes the moments of ill-conditioned groups.
    fn look_again(
        &mut self,
        zeros: &[u64],
        length: usize,
        entry: &impl Fn(usize) -> (usize, f64, u64),
    ) {
        let states = self.sums.iter().zip(&self.moments);
        let wanted = states.map(|(sums, state)| sums.is_ill_conditioned(state.m2));
        self.again.clear();
        self.again.extend(wanted.map(|wanted| Again { wanted, ..Again::default() }));
        for i in 0..length {
            let (group, value, _) = entry(i);
            let again = &mut self.again[group];
            again.origin.get_or_insert(value);
            again.largest = again.largest.max(value.abs());
        }
        for (again, sums) in self.again.iter_mut().zip(&self.sums) {
            if sums.is_extreme() && again.largest.is_finite() && again.largest > 0.0 {
                again.scale = exponent(again.largest).clamp(-1000, 1022);
            }
        }
        for i in 0..length {
            let (group, value, weight) = entry(i);
            self.again[group].push(value, weight);
        }
        for (group, state) in self.moments.iter_mut().enumerate() {
            let again = &mut self.again[group];
            let Some(origin) = again.origin else { continue };
            again.push(0.0, zeros[group]);
            let near = again.about.moments_about(origin * power_of_two(-again.scale), again.scale);
            // With an infinite value the differences are NaN; keep the mean of the first pass.
            if again.wanted && !near.mean().is_nan() {
                *state = near;
            }
        }
    }

    /// Computes, for each group, the moments of all other groups by merging, without subtraction.
    pub fn leave_one_out(&mut self) {
        all_others(&self.sums, PowerSums::merge, &mut self.other_sums);
        self.others.clear();
        self.others.extend(self.other_sums.iter().map(PowerSums::moments));
        let mut states = self.other_sums.iter().zip(&self.others);
        if states.any(|(sums, state)| sums.is_ill_conditioned(state.m2)) {
            all_others(&self.moments, Moments::merge, &mut self.others);
        }
    }
}

impl Again {
    fn push(&mut self, value: f64, weight: u64) {
        if self.wanted {
            let (unit, origin) = (power_of_two(-self.scale), self.origin.unwrap_or_default());
            self.about.push(value * unit - origin * unit, weight);
        }
    }
}

/// Fills `others`: for each state, the merge of all other states, from prefix and suffix merges.
pub fn all_others<S: Copy + Default>(
    states: &[S],
    merge: impl Fn(&S, &S) -> S,
    others: &mut Vec<S>,
) {
    others.clear();
    let mut before = S::default();
    for state in states {
        others.push(before);
        before = merge(&before, state);
    }
    let mut after = S::default();
    for (other, state) in others.iter_mut().zip(states).rev() {
        *other = merge(other, &after);
        after = merge(state, &after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_kept() {
        let mut groups = GroupMoments::default();
        let mut rooms = Vec::new();
        for _ in 0..3 {
            // Ill-conditioned, so that the second pass and the second merge run.
            groups.run(&[0; 40], 400, |i| (i % 40, 1e9 + if i < 40 { 0.5 } else { 0.0 }, 1));
            groups.leave_one_out();
            let GroupMoments { moments, others, sums, other_sums, again } = &groups;
            rooms.push((
                moments.as_ptr(),
                others.as_ptr(),
                sums.as_ptr(),
                other_sums.as_ptr(),
                again.as_ptr(),
            ));
        }
        assert_eq!(rooms[1], rooms[0]);
        assert_eq!(rooms[2], rooms[0]);
    }
}
