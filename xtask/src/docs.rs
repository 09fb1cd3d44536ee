//! `cargo xtask docs`: the documentation for users, a site in `target/docs`.
//!
//! The reference comes from the sources of the Python packages and from the installed wheel's command,
//! so the wheel is built first. A broken link or a name that is not there is an error. Programs in the
//! pages are run by `rm-ffi/tests/test_docs.py`.

use anyhow::Result;

use crate::cmd::{Cmd, target_dir};
use crate::python::{Requirements, Venv};
use crate::wheel;

/// Runs the verb.
pub fn run() -> Result<()> {
    let venv = Venv::ensure()?;
    venv.require(&[Requirements::Docs])?;
    wheel::ensure(&venv)?;
    let site = target_dir()?.join("docs");
    Cmd::new(venv.bin("mkdocs"))
        .args(["build", "--strict", "--quiet", "--clean"])
        .arg("--site-dir")
        .arg(&site)
        .env_remove("PYTHONPATH")
        // Of what becomes of MkDocs, which is of no use here.
        .env("NO_MKDOCS_2_WARNING", "true")
        .run()?;
    println!("{}", site.join("index.html").display());
    Ok(())
}
