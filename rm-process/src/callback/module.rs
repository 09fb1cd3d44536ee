//! Which handler serves which path.
//!
//! Main type: [`DynamicCallbackModule`]. It calls no handler itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handler::{Erased, Typed, TypedCallbackHandler};
use super::stubs::{self, CallbackShape, StubError};
use crate::failure::PythonExecutionError;

/// Why a handler could not be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallbackError {
    /// The path is taken.
    #[error("callback {path:?} is registered already")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// The path would be a handler and a module at once.
    #[error(
        "callback {path:?} is ambiguous: {other:?} is registered, so {} would be both a \
             module and a callback",
        shorter(path, other)
    )]
    Ambiguous {
        /// The path.
        path: String,
        /// The path that is registered.
        other: String,
    },
    /// A part of the path is no name that Python code can write.
    #[error(
        "{part:?} in callback path {path:?} is no identifier: letters, digits and _, not a \
             digit first, and no keyword of Python"
    )]
    InvalidName {
        /// The path.
        path: String,
        /// The part.
        part: String,
    },
}

fn shorter<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.len() < other.len() { one } else { other }
}

/// Handlers by their paths: the module's name, a dot, and the handler's
/// [`type_name`](TypedCallbackHandler::type_name).
///
/// ```
/// use rm_process::callback::{
///     CallbackStream, DynamicCallbackModule, PythonExecutionError, TypedCallbackHandler,
/// };
///
/// struct Double;
///
/// #[async_trait::async_trait]
/// impl TypedCallbackHandler<u32> for Double {
///     type Response = u64;
///
///     async fn handle_callback(
///         &self,
///         request: u32,
///     ) -> Result<CallbackStream<u64>, PythonExecutionError> {
///         Ok(Box::pin(tokio_stream::once(Ok(u64::from(request) * 2))))
///     }
///
///     fn type_name(&self) -> &'static str {
///         "Double"
///     }
/// }
///
/// let mut module = DynamicCallbackModule::new();
/// module.register_handler("math", Double)?;
/// assert_eq!(module.paths().collect::<Vec<_>>(), ["math.Double"]);
/// assert!(module.register_handler("math", Double).is_err());
/// # Ok::<(), rm_process::callback::CallbackError>(())
/// ```
#[derive(Default)]
pub struct DynamicCallbackModule {
    handlers: BTreeMap<String, Arc<dyn Erased>>,
    /// To find them out takes some milliseconds.
    shapes: OnceLock<Vec<CallbackShape>>,
}

impl fmt::Debug for DynamicCallbackModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.paths()).finish()
    }
}

impl DynamicCallbackModule {
    /// A module without handlers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a handler as `<module>.<its type_name>`. Modules may lie in modules: `"trading.eu"`.
    ///
    /// # Errors
    /// [`CallbackError`]; what was registered stays.
    pub fn register_handler<C, H>(&mut self, module: &str, handler: H) -> Result<(), CallbackError>
    where
        C: Serialize + DeserializeOwned + Send + 'static,
        H: TypedCallbackHandler<C>,
    {
        let path = format!("{module}.{}", handler.type_name());
        let mut parts = module.split('.').chain([handler.type_name()]);
        if let Some(part) = parts.find(|part| !is_identifier(part)) {
            return Err(CallbackError::InvalidName { part: part.to_owned(), path });
        }
        if self.handlers.contains_key(&path) {
            return Err(CallbackError::Duplicate { path });
        }
        let is_within = |one: &str, other: &str| {
            other.strip_prefix(one).is_some_and(|rest| rest.starts_with('.'))
        };
        let other = self.paths().find(|other| is_within(&path, other) || is_within(other, &path));
        if let Some(other) = other {
            return Err(CallbackError::Ambiguous { other: other.to_owned(), path });
        }
        self.handlers.insert(path, Arc::new(Typed::new(handler)));
        self.shapes.take();
        Ok(())
    }

    /// The paths that are registered, in their order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }

    /// What each handler takes and gives, as far as that can be known from the outside: each type's way
    /// to be read and written is tried out, once.
    pub fn shapes(&self) -> &[CallbackShape] {
        let shape = |(path, handler): (&String, &Arc<dyn Erased>)| {
            let (module, _) = path.rsplit_once('.').expect("registered paths have a module");
            handler.shape(module)
        };
        self.shapes.get_or_init(|| self.handlers.iter().map(shape).collect())
    }

    /// Writes stubs and dataclasses for Python into `folder`, from which editors and type checkers
    /// know what `kameo.<module>.<Handler>(request)` takes and gives; see [`stubs`](super::stubs).
    /// Gives the folder that is to be on their path.
    ///
    /// # Errors
    /// [`StubError`] if the folder cannot be written.
    pub fn write_stubs(&self, folder: &Path) -> Result<PathBuf, StubError> {
        stubs::write_stubs(folder, self.shapes())
    }

    /// Who serves a path.
    pub(super) fn find(&self, path: &str) -> Result<&Arc<dyn Erased>, PythonExecutionError> {
        self.handlers.get(path).ok_or_else(|| PythonExecutionError::NoSuchCallback {
            path: path.to_owned(),
            known: self.paths().map(str::to_owned).collect(),
        })
    }
}

/// Python's hard keywords, by its language reference (section 2.3.1).
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

fn is_identifier(part: &str) -> bool {
    let starts = part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts
        && part.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        && !KEYWORDS.contains(&part)
}

#[cfg(test)]
mod tests {
    use super::super::handler::CallbackStream;
    use super::*;

    struct Named(&'static str);

    #[async_trait::async_trait]
    impl TypedCallbackHandler<()> for Named {
        type Response = ();

        async fn handle_callback(
            &self,
            (): (),
        ) -> Result<CallbackStream<()>, PythonExecutionError> {
            Err(PythonExecutionError::Cancelled)
        }

        fn type_name(&self) -> &'static str {
            self.0
        }
    }

    #[test]
    fn a_path_that_cannot_be_routed_is_refused_and_changes_nothing() {
        let mut module = DynamicCallbackModule::new();
        module.register_handler("trading", Named("Fetch")).unwrap();
        module.register_handler("trading.eu", Named("Fetch")).unwrap();
        let mut check = |at: &str, name, expected: &str| {
            let error = module.register_handler(at, Named(name)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check("trading", "Fetch", "callback \"trading.Fetch\" is registered already");
        check(
            "trading",
            "eu",
            "callback \"trading.eu\" is ambiguous: \"trading.eu.Fetch\" is registered, so \
             trading.eu would be both a module and a callback",
        );
        check(
            "trading.Fetch",
            "Deep",
            "callback \"trading.Fetch.Deep\" is ambiguous: \"trading.Fetch\" is registered, so \
             trading.Fetch would be both a module and a callback",
        );
        for (at, name, part) in
            [("", "X", ""), ("a..b", "X", ""), ("a", "1", "1"), ("class", "X", "class")]
        {
            let error = module.register_handler(at, Named(name)).unwrap_err();
            let path = format!("{at}.{name}");
            assert_eq!(error, CallbackError::InvalidName { path, part: part.to_owned() });
        }
        assert_eq!(module.paths().collect::<Vec<_>>(), ["trading.Fetch", "trading.eu.Fetch"]);
    }
}
