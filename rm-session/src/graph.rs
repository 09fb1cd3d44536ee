//! Which node comes before which.
//!
//! Main type: [`Graph`]. Nodes are known by their place in the manifest. It is pure, and its work
//! grows with the number of nodes and connections, not with their product.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rm_core::NodeId;

use crate::manifest::{Connection, Manifest};

/// Why a manifest's connections cannot be followed in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// They lead in a circle.
    #[error("cycle: {}", closed(path))]
    Cycle {
        /// The nodes of one circle in the direction of the data, each once. It starts with the
        /// one that comes first in the manifest.
        path: Vec<NodeId>,
    },
}

fn closed(path: &[NodeId]) -> String {
    let ids = path.iter().chain(path.first()).map(NodeId::as_str);
    ids.collect::<Vec<_>>().join(" -> ")
}

/// The connections of a manifest, without circles.
///
/// ```
/// use rm_session::{Graph, Manifest};
///
/// let manifest = Manifest::from_json(
///     r#"{
///         "version": "v1",
///         "nodes": [{"id": "out", "node_type": "B"}, {"id": "in", "node_type": "A"}],
///         "connections": [{"from": "in", "to": "out"}]
///     }"#,
/// )?;
/// let graph = Graph::new(&manifest)?;
/// assert_eq!(graph.order(), [1, 0]);
/// assert_eq!(graph.predecessors(0), [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    order: Vec<usize>,
    predecessors: Vec<Vec<usize>>,
    successors: Vec<Vec<usize>>,
}

impl Graph {
    /// Puts the nodes of a manifest in order.
    ///
    /// # Errors
    /// [`GraphError::Cycle`] if the connections lead in a circle.
    pub fn new(manifest: &Manifest) -> Result<Self, GraphError> {
        let nodes = manifest.nodes();
        Self::from_connections(nodes.len(), manifest.connections()).map_err(|circle| {
            let path = circle.iter().map(|&node| nodes[node].id.clone()).collect();
            GraphError::Cycle { path }
        })
    }

    /// Fails with the places of one circle.
    fn from_connections(len: usize, connections: &[Connection]) -> Result<Self, Vec<usize>> {
        let mut predecessors = vec![Vec::new(); len];
        let mut successors = vec![Vec::new(); len];
        for &Connection { from, to, .. } in connections {
            successors[from].push(to);
            predecessors[to].push(from);
        }
        // Kahn's algorithm; of all nodes that could be next, the first of the manifest is.
        let mut waits_for: Vec<usize> = predecessors.iter().map(Vec::len).collect();
        let mut ready: BinaryHeap<_> =
            (0..len).filter(|&node| waits_for[node] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(len);
        while let Some(Reverse(node)) = ready.pop() {
            order.push(node);
            for &next in &successors[node] {
                waits_for[next] -= 1;
                if waits_for[next] == 0 {
                    ready.push(Reverse(next));
                }
            }
        }
        if order.len() < len {
            return Err(find_circle(&predecessors, &waits_for));
        }
        Ok(Self { order, predecessors, successors })
    }

    /// All nodes, each after all of its predecessors; where that leaves a choice, in the order of
    /// the manifest.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The nodes that `node` gets items from, in the order of the connections.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn predecessors(&self, node: usize) -> &[usize] {
        &self.predecessors[node]
    }

    /// The nodes that `node` gives items to, in the order of the connections.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn successors(&self, node: usize) -> &[usize] {
        &self.successors[node]
    }

    /// The nodes without predecessors, in the order of the manifest.
    pub fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|&node| self.predecessors[node].is_empty())
    }

    /// The nodes without successors, in the order of the manifest.
    pub fn sinks(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|&node| self.successors[node].is_empty())
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are no nodes. A manifest always has some.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// One circle among the nodes that still wait. Each of them waits for another of them, so going
/// backwards comes to a node for the second time.
fn find_circle(predecessors: &[Vec<usize>], waits_for: &[usize]) -> Vec<usize> {
    let waiting = |node: &usize| waits_for[*node] > 0;
    let mut steps = Vec::new();
    let mut step_of = vec![None; predecessors.len()];
    let mut at = (0..predecessors.len()).find(waiting);
    while let Some(node) = at {
        if let Some(first) = step_of[node] {
            steps.drain(..first);
            break;
        }
        step_of[node] = Some(steps.len());
        steps.push(node);
        at = predecessors[node].iter().copied().find(waiting);
    }
    steps.reverse();
    let start = (0..steps.len()).min_by_key(|&step| steps[step]);
    steps.rotate_left(start.unwrap_or(0));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edges(pairs: &[(usize, usize)]) -> Vec<Connection> {
        let edge = |&(from, to)| Connection::new(from, to);
        pairs.iter().map(edge).collect()
    }

    fn graph(len: usize, pairs: &[(usize, usize)]) -> Graph {
        Graph::from_connections(len, &edges(pairs)).unwrap()
    }

    #[test]
    fn order_is_that_of_the_manifest_where_the_connections_leave_a_choice() {
        assert_eq!(graph(4, &[]).order(), [0, 1, 2, 3]);
        assert_eq!(graph(4, &[(3, 0)]).order(), [1, 2, 3, 0]);
        assert_eq!(graph(4, &[(0, 2), (0, 1), (1, 3), (2, 3)]).order(), [0, 1, 2, 3]);
    }

    #[test]
    fn sources_and_sinks_are_the_nodes_at_the_ends() {
        let graph = graph(5, &[(0, 2), (1, 2), (2, 3)]);
        assert_eq!(graph.sources().collect::<Vec<_>>(), [0, 1, 4]);
        assert_eq!(graph.sinks().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(graph.predecessors(2), [0, 1]);
        assert_eq!(graph.successors(2), [3]);
    }

    #[test]
    fn a_cycle_is_named_by_its_path_only() {
        let manifest = Manifest::from_json(
            r#"{"version": "v1",
                "nodes": [
                    {"id": "before", "node_type": "N"}, {"id": "a", "node_type": "N"},
                    {"id": "b", "node_type": "N"}, {"id": "c", "node_type": "N"},
                    {"id": "after", "node_type": "N"}
                ],
                "connections": [
                    {"from": "before", "to": "b"}, {"from": "c", "to": "a"},
                    {"from": "a", "to": "b"}, {"from": "b", "to": "c"},
                    {"from": "c", "to": "after"}
                ]}"#,
        )
        .unwrap();
        let error = Graph::new(&manifest).unwrap_err();
        assert_eq!(error.to_string(), "cycle: a -> b -> c -> a");
        let GraphError::Cycle { path } = error;
        assert_eq!(path.len(), 3);
    }

    #[test]
    fn a_thousand_nodes_in_a_chain_and_side_by_side_are_put_in_order() {
        let chain: Vec<_> = (1..1_000).map(|n| (n, n - 1)).collect();
        let reversed: Vec<_> = (0..1_000).rev().collect();
        assert_eq!(graph(1_000, &chain).order(), reversed);

        let fan: Vec<_> = (1..1_001).map(|n| (0, n)).collect();
        let graph = graph(1_001, &fan);
        assert!(graph.order().iter().copied().eq(0..1_001));
        assert_eq!(graph.successors(0).len(), 1_000);
    }

    #[test]
    fn a_cycle_of_a_thousand_nodes_is_found() {
        let mut ring: Vec<_> = (1..1_000).map(|n| (n - 1, n)).collect();
        ring.push((999, 0));
        let circle = Graph::from_connections(1_000, &edges(&ring)).unwrap_err();
        assert!(circle.into_iter().eq(0..1_000));
    }

    proptest! {
        #[test]
        fn any_connections_give_an_order_or_a_real_cycle(
            (len, pairs) in (2_usize..12).prop_flat_map(|len| {
                (Just(len), prop::collection::btree_set((0..len, 0..len), 0..24))
            })
        ) {
            let pairs: Vec<_> = pairs.into_iter().filter(|(from, to)| from != to).collect();
            match Graph::from_connections(len, &edges(&pairs)) {
                Ok(graph) => {
                    let mut place = vec![None; len];
                    for (index, &node) in graph.order().iter().enumerate() {
                        prop_assert_eq!(place[node].replace(index), None);
                    }
                    prop_assert_eq!(graph.order().len(), len);
                    for &(from, to) in &pairs {
                        prop_assert!(place[from] < place[to]);
                    }
                }
                Err(circle) => {
                    prop_assert!(circle.len() >= 2);
                    for (index, &from) in circle.iter().enumerate() {
                        let to = circle[(index + 1) % circle.len()];
                        prop_assert!(pairs.contains(&(from, to)));
                    }
                }
            }
        }
    }
}
