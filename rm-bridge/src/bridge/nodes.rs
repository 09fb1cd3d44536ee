//! Which nodes a bridge has, and that there is one of each id.
//!
//! Main type: [`Nodes`]. A node is started, changed and taken away by one at a time; calls that come
//! meanwhile wait, and then find it. How a node is started is its bridge's affair.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::answers::Ending;
use super::error::ServiceError;
use crate::worker::lock;

/// A node that runs somewhere.
pub(crate) trait Life: Send + Sync {
    fn ending(&self) -> &Arc<Ending>;

    fn set_params(&self, params: Value) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

struct Living<N> {
    node_type: String,
    params: Map<String, Value>,
    node: Arc<N>,
}

type Place<N> = Arc<tokio::sync::Mutex<Option<Living<N>>>>;

/// The nodes of one bridge.
pub(crate) struct Nodes<N> {
    places: Mutex<HashMap<String, Place<N>>>,
}

impl<N> Default for Nodes<N> {
    fn default() -> Self {
        Self { places: Mutex::default() }
    }
}

/// What is asked of a node before it is given anything.
pub(crate) struct Wanted<'a> {
    pub(crate) node_id: &'a str,
    pub(crate) node_type: &'a str,
    pub(crate) params: &'a Value,
    /// Whether one that has ended is made anew.
    pub(crate) anew: bool,
}

impl<N: Life> Nodes<N> {
    /// The node, with these parameters; `start` makes it if it is not there.
    pub(crate) async fn find(
        &self,
        wanted: Wanted<'_>,
        check: impl Fn(&Value) -> Result<(), ServiceError> + Send,
        start: impl Future<Output = Result<Arc<N>, ServiceError>> + Send,
    ) -> Result<Arc<N>, ServiceError> {
        let Wanted { node_id, .. } = wanted;
        let place = self.place(node_id);
        let found = self.find_at(&mut *place.lock().await, wanted, check, start).await;
        if found.is_err() {
            self.tidy(node_id, place).await;
        }
        found
    }

    async fn find_at(
        &self,
        place: &mut Option<Living<N>>,
        Wanted { node_id, node_type, params, anew }: Wanted<'_>,
        check: impl Fn(&Value) -> Result<(), ServiceError> + Send,
        start: impl Future<Output = Result<Arc<N>, ServiceError>> + Send,
    ) -> Result<Arc<N>, ServiceError> {
        let given = match params {
            Value::Null => Map::new(),
            Value::Object(given) => given.clone(),
            other => {
                let message =
                    format!("parameters of node {node_id} are {other}, expected an object");
                return Err(ServiceError::Validation(message));
            }
        };
        if let Some(living) = place {
            if !living.node.ending().has_come() {
                living.adapt(node_id, node_type, given, check).await?;
                return Ok(living.node.clone());
            }
            if !anew {
                let (node_id, error) = (node_id.to_owned(), living.node.ending().error());
                return Err(ServiceError::NotInitialized { node_id, reason: error.to_string() });
            }
            *place = None;
        }
        check(&Value::Object(given.clone()))?;
        let node = start.await?;
        *place =
            Some(Living { node_type: node_type.to_owned(), params: given, node: node.clone() });
        Ok(node)
    }

    /// Takes a node away; nobody else finds it from now on.
    pub(crate) async fn take(&self, node_id: &str) -> Option<Arc<N>> {
        let place = lock(&self.places).get(node_id).cloned()?;
        let taken = place.lock().await.take();
        self.tidy(node_id, place).await;
        taken.map(|living| living.node)
    }

    /// All nodes that there are. Waits for those that are being made.
    pub(crate) async fn all(&self) -> Vec<Arc<N>> {
        let places: Vec<_> = lock(&self.places).values().cloned().collect();
        let mut nodes = Vec::new();
        for place in places {
            nodes.extend(place.lock().await.as_ref().map(|living| living.node.clone()));
        }
        nodes
    }

    /// The ids of all nodes that there are, or that are being made.
    pub(crate) fn ids(&self) -> Vec<String> {
        lock(&self.places).keys().cloned().collect()
    }

    fn place(&self, node_id: &str) -> Place<N> {
        lock(&self.places).entry(node_id.to_owned()).or_default().clone()
    }

    /// Forgets an id that has no node, and for which nobody waits.
    async fn tidy(&self, node_id: &str, place: Place<N>) {
        if place.lock().await.is_some() {
            return;
        }
        let mut places = lock(&self.places);
        // The map's and this one; others are made only under the map's lock.
        if Arc::strong_count(&place) == 2
            && places.get(node_id).is_some_and(|own| Arc::ptr_eq(own, &place))
        {
            places.remove(node_id);
        }
    }
}

impl<N: Life> Living<N> {
    /// Gives it those parameters that are to be other than they are.
    async fn adapt(
        &mut self,
        node_id: &str,
        node_type: &str,
        given: Map<String, Value>,
        check: impl Fn(&Value) -> Result<(), ServiceError>,
    ) -> Result<(), ServiceError> {
        if self.node_type != node_type {
            let message = format!(
                "node {node_id} is a {}, not a {node_type}; clean it up before",
                self.node_type
            );
            return Err(ServiceError::Validation(message));
        }
        let is_new = |(name, value): &(String, Value)| self.params.get(name) != Some(value);
        let changed: Map<_, _> = given.into_iter().filter(is_new).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let mut params = self.params.clone();
        params.extend(changed.clone());
        check(&Value::Object(params.clone()))?;
        self.node.set_params(Value::Object(changed)).await?;
        self.params = params;
        Ok(())
    }
}
