//! The processors a thread may run on.
#![allow(unsafe_code)]

use std::io;

/// The numbers of the processors on which the calling thread, and every thread that it makes, may run: the process's
/// affinity mask and cpuset. Sorted. All processors where the system has no such mask.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    imp::allowed_cpus()
}

/// Binds the calling thread to one processor. Does nothing where the system has no such call.
pub(super) fn pin_current_thread(cpu: usize) -> io::Result<()> {
    imp::pin_current_thread(cpu)
}

#[cfg(all(target_os = "linux", not(miri)))]
mod imp {
    use std::io;

    const WORD_BITS: usize = u64::BITS as usize;

    /// More than any kernel is built for (`CONFIG_NR_CPUS` is at most 8192 on x86).
    const MAX_CPUS: usize = 1 << 16;

    pub(super) fn allowed_cpus() -> io::Result<Vec<usize>> {
        // The kernel refuses a mask shorter than its own with EINVAL and does not tell the length it wants.
        let mut bits = 1024;
        loop {
            let mut mask = vec![0_u64; bits / WORD_BITS];
            // SAFETY: the pointer and the length in bytes describe `mask`, which the kernel fills; a `cpu_set_t` is
            // an array of words of any length for the system call, aligned to at most a word.
            let rc = unsafe { libc::sched_getaffinity(0, size_of_val(&mask[..]), mask.as_mut_ptr().cast()) };
            if rc == 0 {
                return Ok((0..bits)
                    .filter(|cpu| mask[cpu / WORD_BITS] >> (cpu % WORD_BITS) & 1 == 1)
                    .collect());
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINVAL) || bits >= MAX_CPUS {
                return Err(error);
            }
            bits *= 2;
        }
    }

    pub(super) fn pin_current_thread(cpu: usize) -> io::Result<()> {
        let mut mask = vec![0_u64; cpu / WORD_BITS + 1];
        mask[cpu / WORD_BITS] = 1 << (cpu % WORD_BITS);
        // SAFETY: the pointer and the length in bytes describe `mask`, which the kernel only reads.
        let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&mask[..]), mask.as_ptr().cast()) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod imp {
    use std::io;

    pub(super) fn allowed_cpus() -> io::Result<Vec<usize>> {
        Ok((0..std::thread::available_parallelism()?.get()).collect())
    }

    pub(super) fn pin_current_thread(_cpu: usize) -> io::Result<()> {
        Ok(())
    }
}
