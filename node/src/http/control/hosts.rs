//! The HTTP mesh, for the node's owner: its hosts, and the requests of those that would like to be (DESIGN §6).

use crate::bridge::http_mesh::{HttpMesh, RequestError};
use crate::http::body::{self, Json};
use crate::http::error::{CONFLICT, Problem};
use crate::http::finish::to_the_end;
use crate::http::state::{self, Shared};
use amesh_proto::api::control::{Done, HttpHosts};
use amesh_proto::api::error::code;
use amesh_proto::api::fields::Fields;
use axum::extract::State;

type Body = Json<{ body::SMALL }>;
type Reply = Result<axum::Json<Done>, Problem>;

/// `GET /hosts`
pub(crate) async fn list(State(state): State<Shared>) -> Result<axum::Json<HttpHosts>, Problem> {
    Ok(axum::Json(http_mesh(&state)?.shown().await))
}

/// `POST /hosts/accept`
pub(crate) async fn accept(State(state): State<Shared>, body: Body) -> Reply {
    let (mesh, name) = (http_mesh(&state)?, named(&body)?);
    done(to_the_end(&state.parts.tasks, async move { mesh.accept(&name).await }).await)
}

/// `POST /hosts/refuse`
pub(crate) async fn refuse(State(state): State<Shared>, body: Body) -> Reply {
    let (mesh, name) = (http_mesh(&state)?, named(&body)?);
    done(to_the_end(&state.parts.tasks, async move { mesh.refuse(&name).await }).await)
}

/// `POST /hosts/remove`
pub(crate) async fn remove(State(state): State<Shared>, body: Body) -> Reply {
    let (mesh, name) = (http_mesh(&state)?, named(&body)?);
    done(to_the_end(&state.parts.tasks, async move { mesh.remove(&name).await }).await)
}

/// `POST /hosts/forget`
pub(crate) async fn forget(State(state): State<Shared>, body: Body) -> Reply {
    let typed = Fields::parse(&body.0)?.text("address")?;
    let directory = state.parts.agents.directory();
    let address =
        directory.expand(&typed, None).map_err(|error| Problem::invalid("address", error.to_string()))?;
    let mesh = http_mesh(&state)?;
    let forgetting = async move { mesh.forget_agent(&address).await };
    if to_the_end(&state.parts.tasks, forgetting).await? {
        return Ok(axum::Json(Done { done: true }));
    }
    Err(Problem::not_found(format!("nothing is remembered of {typed}")).field("address"))
}

fn named(body: &Body) -> Result<String, Problem> {
    Ok(Fields::parse(&body.0)?.text("name")?)
}

fn done(result: Result<(), RequestError>) -> Reply {
    result?;
    Ok(axum::Json(Done { done: true }))
}

fn http_mesh(state: &state::State) -> Result<HttpMesh, Problem> {
    state.parts.http_mesh.clone().ok_or_else(|| Problem::unavailable("this node runs without an HTTP mesh"))
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Store(cause) => cause.into(),
            RequestError::Bad(_) | RequestError::Oneself => Self::invalid("host", error.to_string()),
            RequestError::Taken(_) | RequestError::Configured(_) => Self::new(CONFLICT, error.to_string()),
            RequestError::Full => Self::new(code::QUEUE_FULL, error.to_string()),
            RequestError::Unknown(_) => Self::not_found(error.to_string()).field("name"),
        }
    }
}
