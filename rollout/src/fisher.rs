//! Fisher's exact test, one-sided.

/// The probability of at least `a` failures among the canaries if failures do not depend on the group.
///
/// `a` of `a_all` requests of canaries have failed, and `b` of `b_all` of the others.
pub fn p_value(a: u64, a_all: u64, b: u64, b_all: u64) -> f64 {
    let (a, b) = (a.min(a_all), b.min(b_all));
    let (failed, all) = (a + b, a_all + b_all);
    let most = failed.min(a_all);
    // The logarithm of the probability of exactly `a` failures, then each next probability from the one before.
    let log_first = log_choose(a_all, a) + log_choose(b_all, b) - log_choose(all, failed);
    let (mut ratio, mut sum) = (1.0, 1.0);
    for next in a + 1..=most {
        let numerator = (a_all - next + 1) as f64 * (failed - next + 1) as f64;
        let denominator = next as f64 * (b_all + next - failed) as f64;
        ratio *= numerator / denominator;
        sum += ratio;
        if ratio < sum * f64::EPSILON {
            break;
        }
    }
    (log_first + sum.ln()).exp().min(1.0)
}

/// The logarithm of the number of ways to choose `k` of `n`.
fn log_choose(n: u64, k: u64) -> f64 {
    log_factorial(n) - log_factorial(k) - log_factorial(n - k)
}

/// Stirling's series from 16 on, whose error is below 1e-15 there, and the exact product below.
fn log_factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(|factor| factor as f64).product::<f64>().ln();
    }
    let n = n as f64;
    let inverse = 1.0 / n;
    let square = inverse * inverse;
    let series =
        inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with exact fractions:
    ///
    /// ```python
    /// from fractions import Fraction as F
    /// from math import comb
    /// p = lambda a, A, b, B: float(sum(F(comb(A, k) * comb(B, a + b - k), comb(A + B, a + b))
    ///                              for k in range(a, min(A, a + b) + 1) if a + b - k <= B))
    /// ```
    const EXACT: &[(u64, u64, u64, u64, f64)] = &[
        (1, 1, 0, 11, 0.08333333333333333),
        (3, 3, 0, 3, 0.05),
        (0, 10, 5, 10, 1.0),
        (8, 10, 1, 10, 0.0027387473207906646),
        (5, 200, 0, 1800, 9.556386021442604e-06),
        (0, 200, 0, 1800, 1.0),
        (7, 200, 18, 1800, 0.00902476824620397),
        (307, 4000, 1900, 36000, 1.120082925348549e-09),
        (12, 250, 6, 2750, 1.0296765848006554e-09),
        (20, 1000, 20, 1000, 0.5633215980207149),
        (200, 200, 0, 200, 9.713217247611181e-120),
        (15, 15, 15, 15, 1.0),
        (40, 2000, 300, 30000, 9.483702548850216e-05),
        (2, 2, 11, 11, 1.0),
        (100, 300, 100, 3000, 3.423704827527975e-56),
    ];

    #[test]
    fn values_are_those_of_exact_fractions() {
        for &(a, a_all, b, b_all, expected) in EXACT {
            let found = p_value(a, a_all, b, b_all);
            let error = (found - expected).abs() / expected;
            assert!(error < 1e-9, "{a}/{a_all} {b}/{b_all}: {found} instead of {expected}");
        }
    }

    #[test]
    fn the_values_of_large_numbers_are_finite() {
        assert!(p_value(1_000_000, 100_000_000, 900_000, 100_000_000) < 1e-100);
        assert!(p_value(0, 0, 0, 0) == 1.0);
        let half = p_value(500_000, 50_000_000, 500_000, 50_000_000);
        assert!((0.49..0.51).contains(&half), "{half}");
    }

    #[test]
    fn more_failures_are_less_likely() {
        let mut before = 2.0;
        for failed in 0..=200 {
            let value = p_value(failed, 200, 20, 2000);
            assert!(value < before || value == 0.0, "{failed}");
            before = value;
        }
    }
}
