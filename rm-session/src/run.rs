//! From plan to result in one call.
//!
//! Main function: [`run`].

use std::time::{Duration, Instant};

use rm_bridge::{ConnectionReport, ItemFailure, NodeReport, Output};
use rm_core::{NodeId, RuntimeData};
use serde::Serialize;

use crate::error::SessionError;
use crate::plan::Plan;
use crate::problem::Warning;
use crate::progress::InitProgress;
use crate::runtime::{CancelToken, Runtime};
use crate::session::Session;
use crate::timeline::Timeline;

/// What happens while a pipeline runs.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// A node has come a step further in loading.
    Progress(InitProgress),
    /// An item has left the pipeline.
    Output(Output),
}

/// What a pipeline has done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// The pipeline's name.
    pub name: String,
    /// One for each node, in the order of the manifest.
    pub nodes: Vec<NodeReport>,
    /// One for each connection, in the order of the manifest.
    pub connections: Vec<ConnectionReport>,
    /// Items that were left out because a node failed on them: the first thousand.
    pub failures: Vec<ItemFailure>,
    /// Items that were set aside because they have ended the process of a node twice, by the node and the
    /// item's position in its channel: the first hundred.
    pub set_aside: Vec<(NodeId, u64)>,
    /// Payload bytes that were copied into shared memory, in all channels together, those to and from
    /// the caller included.
    pub copied_bytes: u64,
    /// Time until every node was ready, in microseconds.
    pub init_time_us: u64,
    /// Time from then until the last item was out, in microseconds.
    pub run_time_us: u64,
    /// Time of all of it with starting and cleaning up, in microseconds.
    pub total_time_us: u64,
    /// What is odd about the manifest.
    pub warnings: Vec<Warning>,
    /// On what the time of nodes and items went, if the [plan](Plan::timeline) asks for it.
    #[serde(skip)]
    pub timeline: Option<Timeline>,
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Runs a pipeline: starts it, gives it `input` (each item to each node that takes input from
/// outside), tells `events`, and cleans up. Nothing is left when it returns, whatever it returns.
///
/// # Errors
/// [`SessionError`] if it did not run to its end.
pub async fn run(
    runtime: &Runtime,
    plan: Plan,
    input: Vec<RuntimeData>,
    mut events: impl FnMut(RunEvent) + Send,
    cancel: CancelToken,
) -> Result<RunReport, SessionError> {
    let began = Instant::now();
    if plan.inputs.is_empty() && !input.is_empty() {
        return Err(SessionError::NoInput);
    }
    let (name, warnings) = (plan.name.clone(), plan.warnings.clone());
    let session = Session::create(runtime, plan, cancel)?;
    let ran = drive(&session, input, &mut events, began).await;
    session.close().await;
    let (init_time_us, run_time_us) = ran?;
    let (nodes, connections) = session.reports();
    let failures = session.skipped();
    let letters = session.dead_letters().into_iter();
    let set_aside = letters.map(|letter| (letter.node, letter.sequence)).collect();
    let copied_bytes = session.copied_bytes();
    let total_time_us = micros(began.elapsed());
    Ok(RunReport {
        name,
        nodes,
        connections,
        failures,
        set_aside,
        copied_bytes,
        init_time_us,
        run_time_us,
        total_time_us,
        warnings,
        timeline: session.timeline(),
    })
}

async fn drive(
    session: &Session,
    input: Vec<RuntimeData>,
    events: &mut (impl FnMut(RunEvent) + Send),
    began: Instant,
) -> Result<(u64, u64), SessionError> {
    session.initialize(|step| events(RunEvent::Progress(step))).await?;
    let init_time_us = micros(began.elapsed());
    let started = Instant::now();
    let feed = async {
        for item in input {
            // The session has ended, and says itself why.
            if session.send_all(item).await.is_err() {
                break;
            }
        }
        session.finish();
        Ok::<(), SessionError>(())
    };
    let take = async {
        while let Some(output) = session.recv().await? {
            events(RunEvent::Output(output));
        }
        Ok(())
    };
    tokio::try_join!(feed, take)?;
    Ok((init_time_us, micros(started.elapsed())))
}
