//! The timeline of a session as Python objects.
//!
//! Main function: [`timeline_to_python`]. Making a trace file of it is `remotemedia._trace`'s work.

use pyo3::prelude::*;
use rm_session::Timeline;

use crate::json;

/// A timeline as a dict of plain objects.
///
/// It has ``session``, ``process_id``, ``began_ns`` and ``nodes``, a list of dicts with ``node``,
/// ``node_type``, ``executor``, ``inputs`` (by number of the input, the node that items come from, or
/// None) and ``runs``. A run has ``process_id``, ``steps`` (dicts with ``at_ns`` and ``status``),
/// ``items``, ``dropped`` and ``end`` (None, or a dict with ``at_ns`` and ``reason``). An item has
/// ``work`` (``"item"``, ``"more"``, ``"produce"`` or ``"finish"``), ``input``, ``sequence``,
/// ``item``, ``bytes``, ``sent_ns``, ``waiting_ns``, ``received_ns``, ``failed``, and ``phases``, a
/// list of ``[phase, until_ns, bytes]``. Times are nanoseconds of ``time.monotonic_ns()``.
pub(crate) fn timeline_to_python<'py>(
    py: Python<'py>,
    timeline: &Timeline,
) -> PyResult<Bound<'py, PyAny>> {
    json::to_python(py, timeline)
}
