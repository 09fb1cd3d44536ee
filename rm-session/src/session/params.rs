//! New values of parameters for nodes that run.
//!
//! Main function: [`Session::set_params`].

use rm_core::{NodeId, ParameterProblem, did_you_mean};
use serde_json::Value;

use super::{Session, lock};
use crate::error::ParamsError;
use crate::plan::Consumer;

impl Session {
    /// Gives a node new values of parameters between two items; those that are not named stay. The node
    /// has taken them when this returns, and keeps them if it is started again.
    ///
    /// # Errors
    /// [`ParamsError`]; nothing has changed then.
    pub async fn set_params(&self, node: &str, params: Value) -> Result<(), ParamsError> {
        let Some(place) = self.shared.node(node) else {
            let ids = self.shared.plan.nodes.iter().map(|planned| planned.id.as_str());
            return Err(ParamsError::NoSuchNode {
                node: node.to_owned(),
                hint: did_you_mean(node, ids),
            });
        };
        let id = self.shared.plan.nodes[place].id.clone();
        let Value::Object(changes) = &params else {
            return Err(ParamsError::NotAnObject { node: id, found: params.to_string() });
        };
        let _changing = self.shared.changing.lock().await;
        match self.shared.plan.place_of(place) {
            Consumer::Worker(worker) => self.set_worker_params(&id, worker, &params).await?,
            Consumer::Stage(stage) => self.set_native_params(&id, place, stage, &params).await?,
            Consumer::Session => {}
        }
        if let Value::Object(known) = &mut lock(&self.shared.params)[place] {
            known.extend(changes.clone());
        }
        Ok(())
    }

    async fn set_worker_params(
        &self,
        id: &NodeId,
        worker: usize,
        params: &Value,
    ) -> Result<(), ParamsError> {
        let handle = lock(&self.shared.workers)[worker].handle.clone();
        let handle = handle.ok_or_else(|| ParamsError::NotRunning { node: id.clone() })?;
        handle.set_params(params.to_string()).await.map_err(|error| match error {
            rm_bridge::WorkerError::Refused { message, .. } => {
                ParamsError::Refused { node: id.clone(), message }
            }
            _ => ParamsError::NotRunning { node: id.clone() },
        })
    }

    async fn set_native_params(
        &self,
        id: &NodeId,
        place: usize,
        stage: usize,
        params: &Value,
    ) -> Result<(), ParamsError> {
        let planned = &self.shared.plan.nodes[place];
        if let Some(metadata) = self.shared.runtime.registry.metadata(&planned.node_type) {
            let problems = metadata.check_params(params);
            let is_given =
                |problem: &ParameterProblem| !matches!(problem, ParameterProblem::Missing { .. });
            if let Some(problem) = problems.into_iter().find(is_given) {
                return Err(ParamsError::Invalid { node: id.clone(), problem });
            }
        }
        let not_running = || ParamsError::NotRunning { node: id.clone() };
        let of_stage = &self.shared.plan.stages[stage].nodes;
        let of_stage = of_stage.iter().position(|node| *node == place);
        let remote = lock(&self.shared.stages).get(stage).cloned().ok_or_else(not_running)?;
        let answer = remote.set_params(of_stage.ok_or_else(not_running)?, params.clone());
        let taken = answer.await.map_err(|_| not_running())?;
        taken.map_err(|source| ParamsError::Node { node: id.clone(), source })
    }
}
