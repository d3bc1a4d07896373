//! Engines.
#![allow(unsafe_code)]

use std::sync::Arc;

use engine::EngineOptions as Options;

use crate::memory::{free, put, reference};
use crate::status::{Failure, Status, guard};

/// Threads, kernels and measurements, which plans and networks share.
pub struct Engine(pub Arc<engine::Engine>);

/// How an engine is made. All zero: the default.
#[repr(C)]
pub struct EngineOptions {
    /// Worker threads; 0: one for each core that the process may use.
    pub threads: usize,
    /// 1: results have the same bits for any number of threads, and from run to run; else 0.
    pub deterministic: u32,
}

/// Starts the threads of a new engine, which `*engine` becomes. `options` may be NULL.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_engine_new(options: *const EngineOptions, engine: *mut *mut Engine) -> Status {
    guard(|| {
        let mut chosen = Options::default();
        if !options.is_null() {
            // SAFETY: the caller's pointer, see the preamble.
            let options = unsafe { reference("options", options) }?;
            chosen.threads = (options.threads > 0).then_some(options.threads);
            chosen.deterministic = options.deterministic != 0;
        }
        let made = engine::Engine::new(&chosen).map_err(Failure::argument)?;
        // SAFETY: as above.
        unsafe { give("engine", engine, Engine(Arc::new(made))) }
    })
}

/// The number of worker threads; 0 for NULL.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_engine_threads(engine: *const Engine) -> usize {
    // SAFETY: the caller's pointer, see the preamble.
    unsafe { reference("engine", engine) }.map_or(0, |engine| engine.0.pool().threads())
}

/// Ends an engine. Its threads end with the last plan or network made of it.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_engine_free(engine: *mut Engine) {
    guard(|| {
        // SAFETY: the caller's handle, see the preamble.
        unsafe { free(engine) };
        Ok(())
    });
}

/// Makes `value` a handle in `*place`.
///
/// # Safety
/// `place` is null or valid for a write.
pub unsafe fn give<T>(name: &str, place: *mut *mut T, value: T) -> Result<(), Failure> {
    let handle = Box::into_raw(Box::new(value));
    // SAFETY: the caller's contract.
    unsafe { put(name, place, handle) }.inspect_err(|_| {
        // SAFETY: made above, and given to nobody.
        unsafe { free(handle) }
    })
}
