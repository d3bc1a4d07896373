//! What the machine, or the container that the process runs in, has to give.

pub(crate) mod cgroup;
pub mod memory;
pub mod processor;
