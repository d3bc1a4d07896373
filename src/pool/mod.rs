//! Threads and the order of work: a pool of pinned workers that runs a static graph of tasks again and again.
//!
//! * [`GraphBuilder`] makes a [`Graph`] of one iteration: tasks with costs, edges inside the iteration, and edges
//!   carried to the next one.
//! * [`Pool`] owns the workers; [`Topology`] says where they are pinned and whom they steal from.
//! * [`Executor`] runs a graph on a pool, one iteration a call, without lock or allocation in the steady state.
//! * [`simulate()`] runs a graph in virtual time on a machine that is not there.
//! * [`ConvergentSum`] adds the results of tasks that converge on one node, almost wait-free.
//!
//! The pool knows tasks and priorities and nothing of what they compute. `README.md` beside this file explains the
//! states, the invariants and the races by name; the comments of the code refer to them.

mod affinity;
mod buffers;
mod claim;
mod executor;
mod graph;
mod latch;
mod policy;
#[allow(clippy::module_inception)]
mod pool;
mod queue;
mod rank;
mod ready;
mod recorder;
mod run;
mod schedule;
mod simulate;
mod sleep;
mod sum;
mod sync;
mod topology;
mod turn;
mod worker;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use affinity::allowed_cpus;
pub use buffers::{Accumulate, Buffer, Buffers};
pub use executor::{Executor, TaskPanic};
pub use graph::{Class, Graph, GraphBuilder, GraphError, TaskId};
pub use policy::Policy;
pub use pool::{Pool, PoolError, PoolOptions};
pub use recorder::{Activity, Event, RecordedGraph, Recording, TaskInfo};
pub use simulate::{Load, Machine, Overheads, Simulated, simulate};
pub use sum::ConvergentSum;
pub use topology::{Cpu, Distance, Topology};
pub use worker::WorkerId;
