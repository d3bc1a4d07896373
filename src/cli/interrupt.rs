//! Ctrl-C and SIGTERM as a request to stop in order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Set by the first SIGINT or SIGTERM; the second ends the process at once.
pub struct Interrupt {
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Takes over both signals for the rest of the process.
    pub fn install() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM] {
            // Before the one that sets the flag: the first signal finds it unset.
            flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&stop))?;
            flag::register_usize(number, Arc::clone(&signal), number as usize)?;
            flag::register(number, Arc::clone(&stop))?;
        }
        Ok(Self { stop, signal })
    }

    /// Whether to stop, for the work to poll; set by the signal handler.
    pub fn flag(&self) -> &AtomicBool {
        &self.stop
    }

    /// The signal that has come; SIGINT before any.
    pub fn signal(&self) -> i32 {
        // Set by the signal handler of this process; no other data hangs on it.
        match self.signal.load(Ordering::Relaxed) {
            0 => SIGINT,
            number => number as i32,
        }
    }
}
