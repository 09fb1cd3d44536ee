//! A worker written in Rust, on the runtime that Python's workers use.
//!
//! A session starts it where its interpreter would be. It adds a `!` to each text that it gets, and
//! misbehaves as its node type asks it to; the tests of sessions run it.

use anyhow::bail;
use rm_bridge::{FailedIn, Next, WorkerFailure, WorkerRuntime, WorkerRuntimeError};
use rm_core::RuntimeData;

fn main() -> anyhow::Result<()> {
    let mut runtime = WorkerRuntime::connect()?;
    let role = runtime.config().node_type.clone();
    match role.as_str() {
        "test:NeverReady" => loop {
            std::thread::park();
        },
        "test:Exits" => {
            eprintln!("the model is missing");
            std::process::exit(3);
        }
        "test:Progresses" => {
            runtime.handle().progress(0.5, "half")?;
        }
        _ => {}
    }
    runtime.ready()?;
    loop {
        match runtime.next_step()? {
            Next::SetParams(change) => change.refuse("it has no parameters"),
            Next::Flush => {}
            Next::Item { data, index, .. } => {
                let Some(text) = data.as_text() else { bail!("item {index} is no text") };
                match (role.as_str(), text) {
                    ("test:Fails", "bad") => {
                        runtime.fail(WorkerFailure {
                            during: FailedIn::Process,
                            item: Some(index),
                            error_type: "ValueError".to_owned(),
                            message: "a bad item".to_owned(),
                            traceback: String::new(),
                        })?;
                        std::process::exit(1);
                    }
                    ("test:Dies", "bad") => std::process::abort(),
                    ("test:Sleeps", _) => loop {
                        std::thread::park();
                    },
                    _ => {}
                }
                match runtime.publish(None, RuntimeData::text(format!("{text}!"))?) {
                    // The session closes the channels when it is over.
                    Err(WorkerRuntimeError::Publish(_)) => return Ok(()),
                    result => result?,
                }
                match runtime.done() {
                    Err(WorkerRuntimeError::Publish(_)) => return Ok(()),
                    result => result?,
                }
            }
            Next::End => {
                runtime.finish()?;
                runtime.wait_for_stop();
                return Ok(());
            }
            Next::Stop => return Ok(()),
        }
    }
}
