//! Child processes that start, explain themselves, stop, and never outlive their parent.
