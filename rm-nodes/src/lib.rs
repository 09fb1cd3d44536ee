//! The built-in media nodes of the RemoteMedia runtime.
