//! The plan of an iteration: tasks that declare the memory they touch.
//!
//! A [`PlanBuilder`] collects buffers and tasks in *program order*: the order in which a single thread could
//! run them. Each task names the [`Region`]s that it reads and writes, and gets views of just these when it runs
//! ([`Views`]). From the declarations the builder derives
//! * the **order**: two tasks of which one writes what the other touches are ordered as in the program, within an
//!   iteration and from one iteration to the next (`dependencies`); neighbours too small to be worth it are run as one
//!   (`merge`);
//! * the **memory**: transient buffers whose lives do not meet share one place in the arena (`layout`).
//!
//! So the code that lowers networks and convolutions to tasks is safe Rust: a missing dependency or a race
//! cannot be written. The tasks run on a [`Pool`](crate::pool::Pool); nothing is allocated while they do.

mod arena;
mod builder;
mod dependencies;
mod layout;
mod merge;
mod reduction;
mod running;
mod views;

pub use builder::{Buffer, Label, PlanBuilder, Region, Sum, TaskBuilder};
pub use running::{Plan, PlanError};
pub use views::Views;

#[cfg(test)]
mod tests;
