//! Developer verbs: `cargo xtask demo`, `test`, `bench`, `ci`, `tidy`, `docs`, `wheel`,
//! `fuzz`, `miri`, `chaos`.
//!
//! Main type: [`Verb`]; each verb has a file of its name. What they share is [`cmd`] (external
//! commands, echoed) and [`python`] (the virtual environment). Nothing here is part of the
//! product: the wheel and the crates build and run without it.

#![forbid(unsafe_code)]

mod bench;
mod chaos;
mod ci;
mod cmd;
mod demo;
mod docs;
mod fuzz;
mod leftovers;
mod miri;
mod package;
mod python;
mod test;
mod tidy;
mod wheel;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer verbs of the RemoteMedia runtime.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build and install the wheel, then run the speech example.
    Demo(demo::Args),
    /// Run all Rust tests, doctests and Python tests.
    Test(test::Args),
    /// Run the benchmarks, or one of them.
    Bench(bench::Args),
    /// Run everything that has to pass before a change goes in.
    Ci,
    /// Check the rules that no compiler checks.
    Tidy,
    /// Build the documentation for users, a site.
    Docs,
    /// Build the wheel and install it into `.venv`, or build the one that would be released.
    Wheel(wheel::Args),
    /// Feed the decoders with made-up bytes, to find some that they fail on.
    Fuzz(fuzz::Args),
    /// Run what tests it can under Miri, to find undefined behaviour.
    Miri,
    /// Kill processes of a channel at random points, to see that the others go on.
    Chaos(chaos::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Ci => ci::run(),
        Verb::Tidy => tidy::run(),
        Verb::Docs => docs::run(),
        Verb::Wheel(args) => wheel::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Miri => miri::run(),
        Verb::Chaos(args) => chaos::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_two_dashes_goes_to_the_demo() {
        let cli = Cli::parse_from(["xtask", "demo", "--json", "--", "--set", "a.b=1"]);
        let Verb::Demo(args) = cli.verb else { panic!("parsed as {:?}", cli.verb) };
        assert!(args.json);
        assert_eq!(args.extra, ["--set", "a.b=1"]);
    }
}
