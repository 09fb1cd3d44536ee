//! The ten-line program of the README: runs the speech example and prints what was recognised.

use rm_session::{CancelToken, Manifest, Plan, RunEvent, Runtime, RuntimeConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::new(RuntimeConfig::default(), rm_session::builtin_nodes());
    let plan =
        Plan::new(Manifest::from_file("examples/speech/pipeline.json")?, runtime.registry())?;
    let print = |event| {
        if let RunEvent::Output(output) = event {
            println!("{}: {}", output.node, output.data.as_text().unwrap_or("(no text)"));
        }
    };
    let report = rm_session::run(&runtime, plan, vec![], print, CancelToken::new()).await?;
    println!("{} µs", report.run_time_us);
    Ok(())
}
