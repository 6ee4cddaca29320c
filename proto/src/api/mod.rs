//! Request and response types of the HTTP API, one file per resource.
