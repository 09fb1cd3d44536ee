//! What an item costs each built-in node, called as a stage of a session calls it: `Node::process`, no
//! channel, no process, no Python.
//!
//! Beside it memcpy of the same bytes into memory that is there, which is the limit of what touches all
//! of them, what is promised, and how often memory was allocated for an item. Run by `cargo bench -p
//! benches --bench nodes`; an argument runs only the part with that name: `audio`, `speech`,
//! `resampling`, `formats`, `colours`, `scaling` or `others`. Peers of other projects stand beside the
//! same nodes in `cargo xtask bench media`.

mod audio;
mod bed;
mod others;
mod resampling;
mod video;

use anyhow::Result;

use bed::Bed;

/// What the bench measures, by name.
type Part = (&'static str, fn(&Bed) -> Result<()>);

fn main() -> Result<()> {
    let parts: [Part; 7] = [
        ("audio", audio::effects),
        ("speech", audio::speech),
        ("resampling", resampling::resampling),
        ("formats", audio::formats),
        ("colours", video::colours),
        ("scaling", video::scaling),
        ("others", others::others),
    ];
    let bed = Bed::new()?;
    // Cargo adds `--bench`.
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(&bed)?;
        }
    }
    Ok(())
}
