//! From a JSON manifest to a running, supervised pipeline.
