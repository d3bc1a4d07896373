//! The program `znn`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
