//! How functions end.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a function ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should.
    Ok = 0,
    /// An argument is not what it should be.
    InvalidArgument = 1,
    /// There is not enough memory.
    OutOfMemory = 2,
    /// A file cannot be read or written.
    File = 3,
    /// A defect of the library. The handle can be used again.
    Internal = 4,
}

/// What went wrong.
pub struct Failure {
    pub status: Status,
    pub message: String,
}

impl Failure {
    pub fn new(status: Status, error: impl std::fmt::Display) -> Self {
        Self { status, message: error.to_string() }
    }

    /// Something is wrong with an argument.
    pub fn argument(error: impl std::fmt::Display) -> Self {
        Self::new(Status::InvalidArgument, error)
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Why the last function that failed in the calling thread did so; empty where none has failed. It stays valid until
/// the next failure in this thread.
#[allow(unsafe_code)]
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub extern "C" fn znn_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// Runs the body of a function: a panic becomes a status.
pub fn guard(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    // A panic leaves nothing half-changed that is used again: plans recover from one, and locks are entered anyway.
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::new(Status::Internal, format!("internal error: {}", text(&*panic))),
    };
    let message = failure.message.replace('\0', " ");
    LAST.set(CString::new(message).expect("no zero inside"));
    failure.status
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_end_here() {
        assert_eq!(guard(|| panic!("a \0 test")), Status::Internal);
        let last = LAST.with_borrow(|last| last.to_str().unwrap().to_owned());
        assert_eq!(last, "internal error: a   test");
        assert_eq!(guard(|| Err(Failure::argument("wrong"))), Status::InvalidArgument);
        assert_eq!(LAST.with_borrow(|last| last.to_str().unwrap().to_owned()), "wrong");
        // success leaves it
        assert_eq!(guard(|| Ok(())), Status::Ok);
        assert_eq!(LAST.with_borrow(|last| last.to_str().unwrap().to_owned()), "wrong");
    }
}
