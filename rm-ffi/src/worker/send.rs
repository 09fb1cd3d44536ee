//! Sends what a node gives: as it lies where the memory was lent and nobody else holds it, copied once
//! otherwise.
//!
//! Main method: [`Worker::send`]. What Python objects mean as items is `convert`'s to say.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use rm_bridge::{Phase as Time, WorkerRuntimeError};
use rm_core::{DataHeader, DataMetadata, TensorType};
use rm_ipc::PublishError;

use super::{Broken, Phase, Worker};
use crate::array;
use crate::audio::{PyAudio, channels_of, format_of};
use crate::convert::{self, Converted};
use crate::errors::{MarshalingError, chain};
use crate::python::emit_type;
use crate::video::{Layout, PyVideoFrame};

/// The port and the item of an `Emit`; `None` for anything else.
fn addressed<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<(String, Bound<'py, PyAny>)>> {
    let py = value.py();
    if !value.get_type().is(emit_type(py)?) {
        return Ok(None);
    }
    let port = value.getattr(intern!(py, "port"))?.extract()?;
    Ok(Some((port, value.getattr(intern!(py, "item"))?)))
}

/// What a lent array is.
#[derive(Clone, Copy)]
enum Lent {
    Tensor,
    Audio(u32),
    Video(Layout),
}

impl Lent {
    /// The metadata of such an array; `None` if its shape or type, which may have been changed in
    /// place, does not fit.
    fn metadata(self, shape: &[usize], dtype: TensorType) -> Option<DataMetadata> {
        let metadata = match self {
            Self::Tensor => DataMetadata::Tensor { shape: shape.to_vec(), dtype },
            Self::Audio(rate) => DataMetadata::audio(rate, channels_of(shape)?, format_of(dtype)?),
            Self::Video(layout) => layout.metadata(),
        };
        let len = array::byte_len(shape, dtype)?;
        metadata.check_payload_len(len).is_ok().then_some(metadata)
    }

    /// The object that a node gives for such an array.
    fn object(self, array: Bound<'_, PyUntypedArray>) -> PyResult<Bound<'_, PyAny>> {
        let py = array.py();
        Ok(match self {
            Self::Tensor => array.into_any(),
            Self::Audio(rate) => Bound::new(py, PyAudio::new(array, rate))?.into_any(),
            Self::Video(layout) => Bound::new(py, PyVideoFrame::new(array, layout))?.into_any(),
        })
    }
}

impl<'py> Worker<'py> {
    /// Sends what the node gave; nothing for `None`.
    pub(super) fn send(
        &self,
        phase: Phase,
        value: Bound<'py, PyAny>,
        input: Option<&DataHeader>,
    ) -> Result<(), Broken> {
        if value.is_none() {
            return Ok(());
        }
        if let Some((port, item)) = addressed(&value).map_err(phase.failed())? {
            // Memory is lent by the channels of no port.
            return if item.is_none() {
                Ok(())
            } else {
                self.publish(phase, Some(&port), &item, input)
            };
        }
        let Some(value) = self.send_loan(phase, value, input)? else {
            return Ok(());
        };
        self.publish(phase, None, &value, input)
    }

    /// Sends a copy of what the node gave.
    fn publish(
        &self,
        phase: Phase,
        port: Option<&str>,
        value: &Bound<'py, PyAny>,
        input: Option<&DataHeader>,
    ) -> Result<(), Broken> {
        let converted = convert::from_python(value, "output").map_err(phase.failed())?;
        let Converted { data, copied } = converted;
        let data = match input {
            Some(input) => data.made_from(input),
            None => data,
        };
        self.mark(Time::Convert);
        let sent = self.detached(|runtime| {
            let data = data.with_session(runtime.session_id().clone());
            runtime.note_copied(port, copied);
            runtime.publish(port, data)
        });
        self.mark(Time::Gil);
        self.sent(phase, sent)
    }

    /// Sends a lent array where it lies; gives back what is none, or what somebody else may reach.
    fn send_loan(
        &self,
        phase: Phase,
        value: Bound<'py, PyAny>,
        input: Option<&DataHeader>,
    ) -> Result<Option<Bound<'py, PyAny>>, Broken> {
        let (array, kind) = if array::is_plain(&value) {
            let array = value.cast_into().map_err(|error| phase.failed()(error.into()))?;
            (array, Lent::Tensor)
        } else {
            let (array, kind) = if let Ok(audio) = value.cast::<PyAudio>() {
                (&audio.get().samples, Lent::Audio(audio.get().sample_rate))
            } else if let Ok(frame) = value.cast::<PyVideoFrame>() {
                (&frame.get().pixels, Lent::Video(frame.get().layout))
            } else {
                return Ok(Some(value));
            };
            let array = array.bind(self.py).clone();
            if !array::is_lent(&array) || !array::is_last_reference(&value) {
                return Ok(Some(value));
            }
            drop(value);
            (array, kind)
        };
        let back = |array| kind.object(array).map(Some).map_err(phase.failed());
        if !array::is_lent(&array) {
            return back(array);
        }
        let (shape, Some(dtype)) = (array.shape().to_vec(), array::tensor_type(&array.dtype()))
        else {
            return back(array);
        };
        let Some(metadata) = kind.metadata(&shape, dtype) else {
            return back(array);
        };
        let sample = match array::take_loan(array, &shape, dtype) {
            Ok(sample) => sample,
            Err(array) => return back(array),
        };
        let sent = self.detached(|runtime| {
            let mut header = DataHeader::new(metadata, 0);
            runtime.stamp(&mut header, input);
            runtime.send(sample, header)
        });
        self.mark(Time::Gil);
        self.sent(phase, sent).map(|()| None)
    }

    fn sent(&self, phase: Phase, sent: Result<(), WorkerRuntimeError>) -> Result<(), Broken> {
        match sent {
            // What the node made cannot be sent; that is the node's failure.
            Err(WorkerRuntimeError::Publish(
                error @ (PublishError::InvalidData { .. } | PublishError::SystemLimit { .. }),
            )) => Err(phase.failed()(MarshalingError::new_err(chain(&error)))),
            sent => Ok(sent?),
        }
    }
}
