//! Which processes a session has.
//!
//! Main type: [`SessionProcessMap`], a plain record. Who starts and ends the processes is told here, and
//! does it elsewhere.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The processes of one session, and what they are for. They are ended together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionProcessMap<P = serde_json::Value> {
    /// The session.
    pub session_id: String,
    /// The operating system's numbers of its processes, in the order in which they were started, each
    /// once.
    pub process_ids: Vec<u32>,
    /// When the session began.
    pub created_at: SystemTime,
    /// What the session runs.
    pub pipeline_config: P,
}

impl<P> SessionProcessMap<P> {
    /// A session without processes that begins now.
    pub fn new(session_id: impl Into<String>, pipeline_config: P) -> Self {
        let (session_id, created_at) = (session_id.into(), SystemTime::now());
        Self { session_id, process_ids: Vec::new(), created_at, pipeline_config }
    }

    /// Notes a process; one that is there already is noted once.
    pub fn add(&mut self, process_id: u32) {
        if !self.contains(process_id) {
            self.process_ids.push(process_id);
        }
    }

    /// Forgets a process that has ended; whether it was there.
    pub fn remove(&mut self, process_id: u32) -> bool {
        let before = self.process_ids.len();
        self.process_ids.retain(|own| *own != process_id);
        self.process_ids.len() < before
    }

    /// Whether a process belongs to the session.
    pub fn contains(&self, process_id: u32) -> bool {
        self.process_ids.contains(&process_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_noted_once_and_the_record_reads_back() {
        let mut map = SessionProcessMap::new("s", serde_json::json!({"nodes": []}));
        for process_id in [7, 9, 7] {
            map.add(process_id);
        }
        assert_eq!(map.process_ids, [7, 9]);
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(serde_json::from_str::<SessionProcessMap>(&text).unwrap(), map);
        assert!(map.remove(7) && !map.remove(7));
        assert!(map.contains(9));
    }
}
