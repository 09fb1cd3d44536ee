//! What supervision costs: starting a process, seeing its end, starting and stopping 64 of them, and
//! what each takes of its parent's memory, descriptors and processor.
//!
//! Beside it, in one run and in turn: the same programs under `std::process` and `tokio::process`,
//! which promise nothing when their parent dies, and what the kernel alone takes. Differences are
//! taken pair by pair. Run by `cargo bench -p benches --bench supervision`.

use std::fmt::Display;
use std::io::Read;
use std::time::Duration;

use anyhow::{Result, bail};
use benches::child::{self, Role};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;

mod death;
mod many;
mod program;
mod resources;
mod start;

/// Roles of children: to introduce itself over its control channels, or by a line to a pipe; to say the
/// time and end; to be a parent, whose memory is measured.
const CONNECT: &str = "connect";
const SPEAK: &str = "speak";
const DIE: &str = "die";
const PARENT: &str = "parent";

/// How long [`DIE`] lives before it says the time, so that everybody is waiting then.
const LIFE: Duration = Duration::from_millis(30);
const MANY: usize = 64;
/// Grace for those that end when they are told to.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    if let Some(role) = child::role()? {
        return play(&role);
    }
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        start::starts().await?;
        death::deaths().await?;
        many::many().await
    })?;
    drop(runtime);
    resources::resources()
}

/// Milliseconds that something took, one for each time it was done.
#[derive(Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    fn add(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e3);
    }

    fn at(&self, quantile: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let index = (sorted.len() as f64 * quantile) as usize;
        sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// What it took beyond another, pair by pair.
    fn beyond(&self, peer: &Self) -> Self {
        Self(self.0.iter().zip(&peer.0).map(|(own, peer)| own - peer).collect())
    }
}

impl std::fmt::Display for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.2} ({:.2})", self.median(), self.at(0.99)))
    }
}

fn print_row<C: Display, const N: usize>(name: &str, cells: [C; N]) {
    print!("{name:<34}");
    cells.iter().for_each(|cell| print!(" {:>18}", cell.to_string()));
    println!();
}

fn play(role: &Role) -> Result<()> {
    match (role.name.as_str(), &role.args[..]) {
        (CONNECT, []) => {
            rm_process::child::die_with_parent()?;
            let mut requests = rm_process::child::blocking::connect::<()>()?;
            while requests.next().is_some() {}
        }
        (SPEAK, []) => {
            println!("ready");
            std::io::stdin().read_to_end(&mut Vec::new())?;
        }
        (DIE, []) => {
            std::thread::sleep(LIFE);
            println!("{}", death::now().as_nanos());
            std::process::exit(0);
        }
        (PARENT, [kind, count]) => {
            let mut files = getrlimit(Resource::Nofile);
            files.current = files.maximum;
            setrlimit(Resource::Nofile, files)?;
            let runtime = Runtime::new()?;
            runtime.block_on(resources::be_parent(kind, count.parse()?))?;
            println!("done");
        }
        (other, _) => bail!("there is no role {other}"),
    }
    Ok(())
}
