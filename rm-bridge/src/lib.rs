//! Runs nodes wherever they live, in this process or in a worker, and carries data across.
