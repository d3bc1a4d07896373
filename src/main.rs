//! The program `znn`.
/// The program.
fn main() {}
