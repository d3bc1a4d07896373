//! Cosines and sines of the roots of unity, at compile time.

/// `cos(2 pi k / n)`.
pub(super) const fn cosine(k: usize, n: usize) -> f32 {
    in_turns(k % n, n).0 as f32
}

/// `sin(2 pi k / n)`.
pub(super) const fn sine(k: usize, n: usize) -> f32 {
    in_turns(k % n, n).1 as f32
}

/// Cosine and sine of `k / n` of a turn, `k < n`, by the symmetries of the circle from an angle of at most an eighth
/// of a turn.
const fn in_turns(k: usize, n: usize) -> (f64, f64) {
    if 2 * k > n {
        let (cos, sin) = in_turns(n - k, n);
        return (cos, -sin);
    }
    if 4 * k > n {
        // The angle less a quarter of a turn is (4 k - n) / (4 n) of a turn.
        let (cos, sin) = in_turns(4 * k - n, 4 * n);
        return (-sin, cos);
    }
    if 8 * k > n {
        let (cos, sin) = in_turns(n - 4 * k, 4 * n);
        return (sin, cos);
    }
    let x = 2.0 * core::f64::consts::PI * k as f64 / n as f64;
    (series(1.0, 0, x), series(x, 1, x))
}

/// The Taylor series of cosine (from the term 1 of power 0) or sine (x, 1).
const fn series(first: f64, power: usize, x: f64) -> f64 {
    let (mut sum, mut term, mut power) = (first, first, power);
    while power < 24 {
        term *= -x * x / ((power + 1) * (power + 2)) as f64;
        power += 2;
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_the_standard_library() {
        for n in 1..70 {
            for k in 0..2 * n {
                let (sin, cos) = (2.0 * core::f64::consts::PI * k as f64 / n as f64).sin_cos();
                assert!((f64::from(cosine(k, n)) - cos).abs() < 4e-8, "cosine of {k}/{n}");
                assert!((f64::from(sine(k, n)) - sin).abs() < 4e-8, "sine of {k}/{n}");
            }
        }
    }
}
