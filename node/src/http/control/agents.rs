//! The agents of this node, for its owner: rename, forget.

use crate::http::body::{self, Json};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::Shared;
use crate::message::Notice;
use amesh_proto::api::fields::Fields;
use amesh_proto::api::owner::{AgentForgotten, AgentRenamed};
use axum::extract::State;

type Body = Json<{ body::SMALL }>;

/// `POST /agents/rename`
pub(crate) async fn rename(
    State(state): State<Shared>,
    body: Body,
) -> Result<axum::Json<AgentRenamed>, Problem> {
    let mut fields = Fields::parse(&body.0)?;
    let (typed, name) = (fields.text("address")?, fields.text("name")?);
    let (agents, hallway) = (state.parts.agents.clone(), state.parts.hallway.clone());
    let renaming = async move {
        let agent = agents.of_this_node(typed.trim())?;
        let renamed = agents.rename(&agent, name.trim()).await?;
        let notice = Notice::Renamed { was: renamed.was.clone(), now: renamed.agent.address.to_string() };
        hallway.notify(&renamed.agent, &notice).await?;
        Ok::<_, Problem>(renamed)
    };
    let renamed = to_the_end(&state.parts.tasks, renaming).await?;
    Ok(axum::Json(AgentRenamed {
        was: renamed.was,
        address: renamed.agent.address.to_string(),
        short_address: renamed.agent.short_address().to_string(),
    }))
}

/// `POST /agents/forget`
pub(crate) async fn forget(
    State(state): State<Shared>,
    body: Body,
) -> Result<axum::Json<AgentForgotten>, Problem> {
    let typed = Fields::parse(&body.0)?.text("address")?;
    let agent = state.parts.agents.of_this_node(typed.trim())?;
    let (agents, address) = (state.parts.agents.clone(), agent.address.to_string());
    let mail = state.parts.store.pending_count(agent.no);
    to_the_end(&state.parts.tasks, async move { agents.deregister(&agent).await }).await?;
    Ok(axum::Json(AgentForgotten { address, mail }))
}
