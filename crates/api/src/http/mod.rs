//! Account and scope of a token API that the spec itself declares: one request, and the reading of its answer.

pub mod auth;
pub mod request;
pub mod response;

pub use auth::{BasicAuth, EntraAuth, Grant, HeaderAuth, HttpAuth, Oauth2, SendClient};
pub use request::{HttpHeader, HttpMethod, HttpRequest};
pub use response::{Expires, Failure, FailureClass, HttpResponse, Place, Success};
