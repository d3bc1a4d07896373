//! Engines.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::sync::Arc;

use engine::EngineOptions as Options;

use crate::memory::{free, list, path, put, reference};
use crate::status::{Failure, Status, guard};

/// Threads, kernels and measurements, which plans and networks share.
pub struct Engine(pub Arc<engine::Engine>);

/// How an engine is made. All zero: the default.
#[repr(C)]
pub struct EngineOptions {
    /// Worker threads; 0: one for each core that the process may use.
    pub threads: usize,
    /// The processors of the workers, by the system's numbers, as an array of `cores_len`; NULL: any that the process may
    /// use.
    pub cores: *const usize,
    /// The length of `cores`.
    pub cores_len: usize,
    /// Bytes that a convolution may take for what its algorithm derives from weights and images; 0: 2 GiB.
    pub workspace: usize,
    /// The file that keeps which algorithms measured fastest, in UTF-8; NULL: they are measured again by each engine.
    pub tuning: *const c_char,
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
            if !options.cores.is_null() {
                // SAFETY: as above.
                chosen.cores = Some(unsafe { list("cores", options.cores, options.cores_len) }?.to_vec());
            }
            if !options.tuning.is_null() {
                // SAFETY: as above.
                chosen.tuning = Some(unsafe { path("tuning", options.tuning) }?);
            }
            chosen.workspace = (options.workspace > 0).then_some(options.workspace);
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
