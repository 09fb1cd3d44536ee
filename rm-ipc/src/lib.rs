//! Zero-copy channels between processes over shared memory, with lossless backpressure and a doorbell that never polls.
