//! Errors as one line of text.
//!
//! Main function: [`with_causes`].

use std::error::Error;
use std::iter::successors;

/// An error's message with those of its causes.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
