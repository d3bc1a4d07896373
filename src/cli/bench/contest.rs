//! Times of several contestants, which take turns, so that all of them meet the same disturbances.

use std::error::Error;
use std::time::{Duration, Instant};

use znn::stats::median;

/// Whose iterations are timed.
pub trait Contestant {
    /// Seconds of an iteration in a row of `count` of them.
    fn time(&mut self, count: usize) -> Result<f64, Box<dyn Error>>;
}

/// How long a contest lasts.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// Turns of each contestant.
    pub count: usize,
    /// Seconds of a turn, in which as many iterations run as fit; one at least.
    pub seconds: f64,
    /// Seconds after which no further round of turns begins, once there has been one.
    pub enough: f64,
}

impl Turns {
    /// Seven of so many seconds each.
    pub fn of_seconds(seconds: f64) -> Self {
        Self { count: 7, seconds, enough: 30.0 }
    }
}

/// The time of an iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    /// The median of the turns.
    pub seconds: f64,
    /// Whether the first iteration took so long that it is the only one.
    pub single: bool,
}

/// A pause before a turn: the threads of who was before (those of OpenMP) go on spinning for a while.
pub fn breathe() {
    std::thread::sleep(Duration::from_millis(30));
}

/// The times of an iteration of each contestant. A turn of several begins with one that does not count, in which threads wake
/// up and data come back into the caches.
pub fn compare(contestants: &mut [&mut dyn Contestant], turns: Turns) -> Result<Vec<Time>, Box<dyn Error>> {
    /// Seconds of a first iteration that is worth others.
    const SHORT: f64 = 10.0;
    let mut counts = Vec::with_capacity(contestants.len());
    let mut times = Vec::with_capacity(contestants.len());
    for contestant in &mut *contestants {
        let first = contestant.time(1)?;
        let (count, alone) = if first > SHORT {
            (0, vec![first])
        } else if first > turns.seconds {
            (1, Vec::with_capacity(turns.count))
        } else {
            contestant.time(1)?;
            (((turns.seconds / contestant.time(1)?) as usize).clamp(1, 1000), Vec::with_capacity(turns.count))
        };
        counts.push(count);
        times.push(alone);
    }
    let begin = Instant::now();
    for turn in 0..turns.count {
        if turn > 0 && begin.elapsed() > Duration::from_secs_f64(turns.enough) {
            break;
        }
        for ((contestant, times), &count) in contestants.iter_mut().zip(&mut times).zip(&counts) {
            if count > 0 {
                breathe();
                if count > 1 {
                    contestant.time(1)?;
                }
                times.push(contestant.time(count)?);
            }
        }
    }
    let time = |(times, &count): (&mut Vec<f64>, &usize)| Time { seconds: median(times), single: count == 0 };
    Ok(times.iter_mut().zip(&counts).map(time).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pretends to take so long, and counts its turns.
    struct Fake {
        seconds: f64,
        asked: Vec<usize>,
    }

    impl Contestant for Fake {
        fn time(&mut self, count: usize) -> Result<f64, Box<dyn Error>> {
            self.asked.push(count);
            Ok(self.seconds)
        }
    }

    #[test]
    fn turns_have_as_many_iterations_as_fit() {
        let mut fakes = [0.05, 0.3, 15.0].map(|seconds| Fake { seconds, asked: Vec::new() });
        let [a, b, c] = &mut fakes;
        let turns = Turns { count: 2, seconds: 0.2, enough: 10.0 };
        let times = compare(&mut [a, b, c], turns).unwrap();
        let found: Vec<_> = times.iter().map(|time| (time.seconds, time.single)).collect();
        assert_eq!(found, [(0.05, false), (0.3, false), (15.0, true)]);
        assert_eq!(fakes[0].asked, [1, 1, 1, 1, 4, 1, 4]);
        assert_eq!(fakes[1].asked, [1, 1, 1]);
        assert_eq!(fakes[2].asked, [1]);
    }

    #[test]
    fn enough_is_enough() {
        let mut fake = Fake { seconds: 0.1, asked: Vec::new() };
        compare(&mut [&mut fake], Turns { count: 5, seconds: 0.1, enough: 0.0 }).unwrap();
        assert_eq!(fake.asked.len(), 4, "{:?}", fake.asked);
    }
}
