//! What sessions cost: an item's way from node to node, the start and the end of a session, its memory,
//! how much goes through it, and how soon it goes on after a failure or a flush.
//!
//! Beside it, in one run: bare Unix sockets, memcpy, processes without a session, the same nodes in one
//! interpreter. Run by `cargo xtask bench sessions`; without `REMOTEMEDIA_PYTHON` what needs Python is
//! left out. Arguments run only the parts of these names (`cargo xtask bench sessions -- hops edge`):
//!
//! | part | what its rows are | beside it |
//! |---|---|---|
//! | `hops` | from the moment a node gives an item on until the next node is given it, one item under way, cores idle or each kept busy by a process of the same niceness. From a native node to a worker the item is written into shared memory, which is within the time; workers write into a loan before they give it on. "As reported" is the session's own figure for the same edge, from sending to reception | a byte, and the item, over a socket from process to process; memcpy of the item; all at the same pace |
//! | `edge` | context switches and CPU time of all threads of the parent while 10,000 items go from worker to worker, the growth of what it has mapped, and what the session's report says of the edge | as long with one item |
//! | `life` | from `Session::create` until all nodes are ready; from then until the first item is out; from the end of the input until every process has gone and the session has ended; the same for a session that is closed while a worker is at an item | as many processes at once without a session, until their imports are done |
//! | `memory` | memory, threads and descriptors of the parent for each of 20 sessions at once, and what stays when they have ended, three times: the first time the allocator takes from the system what it keeps | the promise |
//! | `throughput` | items a second of 1, 2 and 4 sessions at once, from `send` to `recv` | an echo over one socket with as much under way as it holds |
//! | `scaling` | items a second of one session of 1 to 16 native nodes in one stage, as many with a thread each, 1 to 8 workers | the same |
//! | `parallel` | time an item of four Python nodes that compute 10 ms each | the same nodes one after another in one interpreter; the number of cores |
//! | `restart` | from `kill -9` of a worker that has an item to do until its successor has done that | the first start of such a session |
//! | `flush` | `Session::flush` while every queue is full, then an item sent after it | how long all of the items would take to come out |

use std::path::PathBuf;

use anyhow::{Result, bail};
use benches::child::{self, Role};
use benches::nodes;

mod bed;
mod edge;
mod flow;
mod hops;
mod life;
mod parallel;
mod peers;
mod process;
mod recovery;

use bed::Bed;

/// What the bench measures, by name.
type Part = (&'static str, fn(&[Bed]) -> Result<()>);

fn main() -> Result<()> {
    if let Some(role) = child::role()? {
        return play(&role);
    }
    let parts: [Part; 9] = [
        ("hops", hops::hops),
        ("edge", edge::edge),
        ("life", life::life),
        ("memory", life::memory),
        ("throughput", flow::throughput),
        ("scaling", flow::scaling),
        ("parallel", parallel::parallel),
        ("restart", recovery::restart),
        ("flush", recovery::flush),
    ];
    // Cargo adds `--bench`.
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| parts.iter().all(|part| part.0 != *name)) {
        bail!("there is no part {unknown:?}; there are {}", parts.map(|part| part.0).join(", "));
    }
    let beds = beds()?;
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n== {name}");
            part(&beds)?;
        }
    }
    Ok(())
}

/// Workers in Rust, which are the floor, and those in Python.
fn beds() -> Result<Vec<Bed>> {
    let python = benches::python();
    let rust = nodes::interpreter(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")))?;
    // Where Python's workers look for their modules.
    std::env::set_current_dir(benches::python_folder())?;
    let mut beds = vec![Bed::new("Rust", "bench", rust)?];
    match python {
        Ok(python) => beds.push(Bed::new("Python", "bench_nodes", python)?),
        Err(error) => println!("not measured: Python ({error})"),
    }
    Ok(beds)
}

fn play(role: &Role) -> Result<()> {
    match (role.name.as_str(), &role.args[..]) {
        (nodes::WORKER, []) => nodes::serve(),
        (peers::SPEAK, []) => {
            println!("ready");
            Ok(())
        }
        (peers::SPIN, []) => peers::spin(),
        (peers::TAKE, [len]) => peers::take(len.parse()?),
        (peers::ECHO, []) => peers::echo(),
        (other, _) => bail!("there is no role {other}"),
    }
}
