//! Times single passes of layers in burn or in candle, whichever is the argument: one JSON request a line in, one
//! answer a line out. Both have as many threads as the environment variable `RAYON_NUM_THREADS` says.

mod burn;
mod candle;
mod request;

use std::io::{BufRead, Write, stdin, stdout};
use std::process::ExitCode;
use std::time::Instant;

use crate::request::{Answer, Question, Request};

/// Something to time.
type Run = Box<dyn Fn() -> Result<(), String>>;

/// A pass with its operands.
struct Pass {
    run: Run,
    /// Seconds of the first call.
    first: f64,
}

impl Pass {
    fn new(run: Run) -> Result<Self, String> {
        let first = seconds(&run)?;
        Ok(Self { run, first })
    }

    /// The mean of as many calls as fit the time; of the first one where that took long.
    fn time(&self, enough: f64) -> Result<Answer, String> {
        /// The longest first call, in seconds, that is repeated.
        const SHORT: f64 = 3.0;
        if self.first > SHORT {
            return Ok(Answer::Time { ms: 1e3 * self.first, single: true });
        }
        let (start, mut calls) = (Instant::now(), 0);
        while calls == 0 || start.elapsed().as_secs_f64() < enough {
            (self.run)()?;
            calls += 1;
        }
        Ok(Answer::Time { ms: 1e3 * start.elapsed().as_secs_f64() / f64::from(calls), single: false })
    }
}

fn seconds(run: &Run) -> Result<f64, String> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}

fn serve(prepare: fn(&Request) -> Result<Run, String>) -> Result<(), String> {
    let mut kept: Option<(String, Result<Pass, String>)> = None;
    for line in stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let Question::Convolution(request) =
            serde_json::from_str(&line).map_err(|error| format!("`{line}`: {error}"))?;
        let same = matches!(&kept, Some((other, _)) if *other == line);
        if !same {
            // The operands of the last one go before those of this one come.
            drop(kept.take());
        }
        let (_, pass) = kept.get_or_insert_with(|| (line, prepare(&request).and_then(Pass::new)));
        let answer = pass.as_ref().map_err(String::clone).and_then(|pass| pass.time(request.seconds));
        let answer = answer.unwrap_or_else(|cannot| Answer::Cannot { cannot });
        let text = serde_json::to_string(&answer).map_err(|error| error.to_string())?;
        writeln!(stdout(), "{text}").map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let engine = std::env::args().nth(1);
    let served = match engine.as_deref() {
        Some("burn") => serve(burn::prepare),
        Some("candle") => serve(candle::prepare),
        _ => Err("usage: znn-rivals burn|candle, with requests on standard input".to_owned()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("znn-rivals: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(input: [usize; 3], kernel: [usize; 3], stride: [usize; 3], pass: &str) -> Request {
        let text = serde_json::json!({
            "operation": "convolution", "c_in": 3, "c_out": 4, "input": input, "kernel": kernel, "stride": stride,
            "dilation": [1, 1, 1], "padding": [0, 1, 1], "pass": pass, "threads": 1, "seconds": 0.001,
        });
        let Question::Convolution(request) = serde_json::from_value(text).expect("a request");
        request
    }

    fn time(prepare: fn(&Request) -> Result<Run, String>, request: &Request) -> Result<f64, String> {
        match Pass::new(prepare(request)?)?.time(request.seconds)? {
            Answer::Time { ms, single: false } => Ok(ms),
            _ => Err("one call was enough".to_owned()),
        }
    }

    #[test]
    fn all_passes_are_timed() {
        for pass in ["forward", "inference", "backward_data", "backward_weights", "step"] {
            for stride in [1, 2] {
                let flat = request([1, 9, 9], [1, 3, 3], [1, stride, stride], pass);
                assert!(time(burn::prepare, &flat).expect(pass) > 0.0);
                assert!(time(candle::prepare, &flat).expect(pass) > 0.0);
                let volume = request([6, 7, 8], [3, 2, 3], [stride, 1, stride], pass);
                assert!(time(burn::prepare, &volume).expect(pass) > 0.0);
            }
        }
    }

    #[test]
    fn what_candle_lacks_is_told() {
        let refused = |request: Request| candle::prepare(&request).err().expect("candle cannot");
        assert!(refused(request([5, 9, 9], [3, 3, 3], [1; 3], "step")).contains("3D"));
        assert!(refused(request([1, 9, 9], [1, 3, 3], [1, 1, 2], "step")).contains("stride"));
    }
}
