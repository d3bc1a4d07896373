//! The learning rate over the iterations.

use serde::{Deserialize, Serialize};

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Always the same.
    Constant,
    /// Multiplied by a factor every so many iterations, as the original system does.
    Step,
    /// Down to 0 along a line.
    Linear,
    /// Down to 0 along half a period of the cosine.
    Cosine,
}

/// The learning rate as a pure function of the iteration, so that a resumed run needs no state for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// How it falls.
    pub kind: ScheduleKind,
    /// Its value at the start.
    pub eta: f64,
    /// The factor of one step of [`ScheduleKind::Step`].
    pub anneal_factor: f64,
    /// The iterations between two such steps; not 0.
    pub anneal_every: u64,
    /// The iteration at which [`ScheduleKind::Linear`] and [`ScheduleKind::Cosine`] reach 0; not 0.
    pub iterations: u64,
}

impl Schedule {
    /// The learning rate of an iteration, the first being 0.
    pub fn eta(&self, iteration: u64) -> f64 {
        let done = (iteration as f64 / self.iterations as f64).min(1.0);
        self.eta
            * match self.kind {
                ScheduleKind::Constant => 1.0,
                ScheduleKind::Step => self.anneal_factor.powf((iteration / self.anneal_every) as f64),
                ScheduleKind::Linear => 1.0 - done,
                ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind) -> Schedule {
        Schedule { kind, eta: 0.1, anneal_factor: 0.5, anneal_every: 100, iterations: 1000 }
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
}
