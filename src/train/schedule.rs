//! The learning rate over the iterations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the learning rate of a [`Schedule`] falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Always the same.
    Constant,
    /// Multiplied by a factor every so many iterations, as the original system does.
    Step,
    /// As often multiplied, but a little in each iteration.
    Exponential,
    /// Down to 0 along a line.
    Linear,
    /// Down to 0 along a power of what is left.
    Polynomial,
    /// Down to 0 along half a period of the cosine.
    Cosine,
    /// Multiplied by a factor when the validation loss has not fallen for long: see [`Plateau`].
    Plateau,
}

/// The learning rate as a function of the iteration, so that a resumed run needs no state for it; but for that of a
/// [`Plateau`], which multiplies it.
///
/// ```
/// use znn::train::schedule::{Schedule, ScheduleKind};
///
/// let schedule = Schedule {
///     kind: ScheduleKind::Cosine,
///     eta: 0.1,
///     anneal_factor: 1.0,
///     anneal_every: 1,
///     power: 1.0,
///     warmup: 10,
///     iterations: 1000,
/// };
/// assert!(schedule.eta(0) < schedule.eta(9) && schedule.eta(900) < schedule.eta(500));
/// assert_eq!(schedule.eta(1000), 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// How it falls.
    pub kind: ScheduleKind,
    /// Its value at the start.
    pub eta: f64,
    /// The factor of one step of [`ScheduleKind::Step`] and of as many iterations of [`ScheduleKind::Exponential`].
    pub anneal_factor: f64,
    /// The iterations between two such steps; not 0.
    pub anneal_every: u64,
    /// The power of [`ScheduleKind::Polynomial`].
    pub power: f64,
    /// The iterations at the start in which the rate rises along a line, whatever falls afterwards.
    pub warmup: u64,
    /// The iteration at which [`ScheduleKind::Linear`], [`ScheduleKind::Polynomial`] and [`ScheduleKind::Cosine`] reach 0;
    /// not 0.
    pub iterations: u64,
}

impl Schedule {
    /// The learning rate of an iteration, the first being 0.
    pub fn eta(&self, iteration: u64) -> f64 {
        let done = (iteration as f64 / self.iterations as f64).min(1.0);
        let warm = if iteration < self.warmup { (iteration + 1) as f64 / self.warmup as f64 } else { 1.0 };
        let periods = iteration as f64 / self.anneal_every as f64;
        self.eta
            * warm
            * match self.kind {
                ScheduleKind::Constant | ScheduleKind::Plateau => 1.0,
                ScheduleKind::Step => self.anneal_factor.powf((iteration / self.anneal_every) as f64),
                ScheduleKind::Exponential => self.anneal_factor.powf(periods),
                ScheduleKind::Linear => 1.0 - done,
                ScheduleKind::Polynomial => (1.0 - done).powf(self.power),
                ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            }
    }
}

/// How far the learning rate has fallen because the validation loss did not. Its text is what a checkpoint keeps.
///
/// ```
/// use znn::train::schedule::{NoPlateau, Plateau};
///
/// let mut plateau = Plateau::START;
/// for loss in [1.0, 0.5, 0.5, 0.5] {
///     plateau.observe(loss, 2, 0.1);
/// }
/// // Two validations in a row were no better.
/// assert_eq!(plateau.factor, 0.1);
/// assert_eq!(plateau.to_string().parse(), Ok(plateau));
/// assert_eq!("0.1".parse::<Plateau>(), Err(NoPlateau));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// What the learning rate is multiplied by.
    pub factor: f64,
    /// The least loss.
    best: f64,
    /// The validations since.
    stale: u64,
}

impl Plateau {
    /// Before any validation.
    pub const START: Self = Self { factor: 1.0, best: f64::INFINITY, stale: 0 };

    /// Takes a validation loss into account: after `patience` in a row that are not less than the least one by a
    /// ten-thousandth, the rate is multiplied by `factor`.
    pub fn observe(&mut self, loss: f64, patience: u64, factor: f64) {
        const LESS: f64 = 1e-4;
        let enough = if self.best.is_finite() { self.best - LESS * self.best.abs() } else { self.best };
        if loss < enough {
            (self.best, self.stale) = (loss, 0);
            return;
        }
        self.stale += 1;
        if self.stale >= patience {
            self.factor *= factor;
            self.stale = 0;
        }
    }
}

impl fmt::Display for Plateau {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.factor, self.best, self.stale)
    }
}

/// The text is not that of a [`Plateau`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected three numbers")]
pub struct NoPlateau;

impl FromStr for Plateau {
    type Err = NoPlateau;
    fn from_str(text: &str) -> Result<Self, NoPlateau> {
        let [factor, best, stale] = text.split(' ').collect::<Vec<_>>()[..] else { return Err(NoPlateau) };
        let number = |text: &str| text.parse::<f64>().map_err(|_| NoPlateau);
        Ok(Self {
            factor: number(factor)?,
            best: number(best)?,
            stale: stale.parse().map_err(|_| NoPlateau)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind) -> Schedule {
        Schedule {
            kind,
            eta: 0.1,
            anneal_factor: 0.5,
            anneal_every: 100,
            power: 2.0,
            warmup: 0,
            iterations: 1000,
        }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn step_multiplies_after_each_full_period() {
        let schedule = schedule(ScheduleKind::Step);
        close(schedule.eta(0), 0.1);
        close(schedule.eta(99), 0.1);
        close(schedule.eta(100), 0.05);
        close(schedule.eta(350), 0.1 / 8.0);
    }

    #[test]
    fn linear_and_cosine_start_at_eta_and_end_at_zero() {
        for (kind, quarter) in [(ScheduleKind::Linear, 0.75), (ScheduleKind::Cosine, 0.853_553_390_593_273_8)]
        {
            let schedule = schedule(kind);
            close(schedule.eta(0), 0.1);
            close(schedule.eta(250), 0.1 * quarter);
            close(schedule.eta(500), 0.05);
            close(schedule.eta(1000), 0.0);
            close(schedule.eta(2000), 0.0);
        }
    }

    #[test]
    fn constant_stays() {
        close(schedule(ScheduleKind::Constant).eta(12345), 0.1);
    }

    #[test]
    fn exponential_is_step_in_between() {
        let (smooth, step) = (schedule(ScheduleKind::Exponential), schedule(ScheduleKind::Step));
        close(smooth.eta(50), 0.1 * 0.5f64.sqrt());
        for iteration in [0, 100, 300] {
            close(smooth.eta(iteration), step.eta(iteration));
        }
    }

    #[test]
    fn polynomial_is_a_power_of_linear() {
        let (square, line) = (schedule(ScheduleKind::Polynomial), schedule(ScheduleKind::Linear));
        for iteration in [0, 250, 500, 1000, 2000] {
            close(square.eta(iteration), 0.1 * (line.eta(iteration) / 0.1).powi(2));
        }
    }

    #[test]
    fn the_warm_up_rises_to_the_schedule() {
        for kind in [ScheduleKind::Constant, ScheduleKind::Cosine, ScheduleKind::Step] {
            let (plain, warm) = (schedule(kind), Schedule { warmup: 4, ..schedule(kind) });
            for (iteration, part) in [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (500, 1.0)] {
                close(warm.eta(iteration), part * plain.eta(iteration));
            }
        }
    }

    #[test]
    fn the_rate_falls_on_a_plateau() {
        let mut plateau = Plateau::START;
        let mut factors = Vec::new();
        for loss in [1.0, 0.5, 0.5, 0.49999, 0.4, 0.5, f64::NAN, 0.45, 0.3, 0.3, 0.3] {
            plateau.observe(loss, 2, 0.1);
            factors.push(plateau.factor);
            assert_eq!(plateau.to_string().parse(), Ok(plateau), "a checkpoint keeps all of it");
        }
        let expected = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3];
        for (factor, power) in factors.into_iter().zip(expected) {
            close(factor, 0.1f64.powi(power));
        }
        assert_eq!(Plateau::START.to_string().parse(), Ok(Plateau::START));
        assert_eq!("1 2".parse::<Plateau>(), Err(NoPlateau));
    }
}
