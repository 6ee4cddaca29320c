//! Turns every failure of `client` into words for the user: what happened, why, and the command that mends it.

use super::output::Trouble;
use crate::client::attachments::FileError;
use crate::client::bundle::BundleError;
use crate::client::control::ControlError;
use crate::client::disk::DiskError;
use crate::client::find::FindError;
use crate::client::home::HomeError;
use crate::client::http::ApiError;
use crate::client::identity::IdentityError;
use crate::client::migrate::MigrateError;
use crate::client::registration::RegistrationError;
use crate::client::websocket::StreamError;
use std::error::Error;

impl From<FindError> for Trouble {
    fn from(error: FindError) -> Self {
        match &error {
            FindError::NotRunning(_) | FindError::Gone { .. } | FindError::Silent { .. } => {
                told("node_not_running", &error).mend("amesh up --detach")
            }
            FindError::NoDataDir => told("no_data_dir", &error).mend("amesh --data-dir DIR …"),
            FindError::Unreadable(..) | FindError::Disk(_) => told("node_file_unreadable", &error),
        }
    }
}

impl From<ControlError> for Trouble {
    fn from(error: ControlError) -> Self {
        match &error {
            ControlError::NotRunning(_) => told("node_not_running", &error).mend("amesh up --detach"),
            ControlError::Denied(_) => told("not_the_owner", &error)
                .because("only the user who started a node manages it")
                .mend("run the command as that user"),
            ControlError::TooLate(_) => told("node_busy", &error).mend("amesh doctor"),
            ControlError::Refused(body) => not_done(body),
            ControlError::Nonsense(_) => {
                told("version_mismatch", &error).mend("amesh down && amesh up --detach")
            }
            ControlError::Broken(_) => told("connection_broken", &error).mend("amesh status"),
        }
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        match &error {
            ApiError::Unreachable { .. } => told("unreachable", &error).mend("amesh status"),
            ApiError::Refused { status, body } => refused(*status, body),
            ApiError::Nonsense { .. } | ApiError::Setup(_) => told("bad_answer", &error),
        }
    }
}

impl From<StreamError> for Trouble {
    fn from(error: StreamError) -> Self {
        match &error {
            StreamError::Refused(_) => told("refused", &error).mend("amesh register --force"),
            _ => told("connection_broken", &error).mend("amesh status"),
        }
    }
}

impl From<HomeError> for Trouble {
    fn from(error: HomeError) -> Self {
        match &error {
            HomeError::Nobody(_) => told("not_initialized", &error).mend("amesh init --name NAME"),
            HomeError::Several(_) => told("which_agent", &error).mend("amesh … --agent NAME"),
            HomeError::BadName(_) => Self::usage(error.to_string())
                .because("names hold letters, digits, `-` and `_`, and begin with a letter or digit"),
            HomeError::NoUserHome => told("no_home", &error).mend("AMP_DIR=DIR amesh …"),
            HomeError::Disk(_) => told("disk", &error),
        }
    }
}

impl From<IdentityError> for Trouble {
    fn from(error: IdentityError) -> Self {
        match &error {
            IdentityError::Missing(_) => told("not_initialized", &error).mend("amesh init --name NAME"),
            IdentityError::BadKey(..) => told("bad_key", &error)
                .because("amesh signs with Ed25519 keys in PKCS#8, as `openssl genpkey -algorithm ed25519` makes them")
                .mend("amesh init --force"),
            IdentityError::Unreadable(..) | IdentityError::Incomplete { .. } => {
                told("identity_damaged", &error).mend("amesh init --force (makes new keys)")
            }
            IdentityError::Disk(_) => told("disk", &error),
        }
    }
}

impl From<BundleError> for Trouble {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Identity(error) => error.into(),
            BundleError::Registration(error) => error.into(),
            BundleError::Disk(error) => error.into(),
            BundleError::Format(_)
            | BundleError::Version(_)
            | BundleError::Key(_)
            | BundleError::OtherKey(_) => {
                told("bad_identity", &error).mend("amesh identity export FILE (where the agent lives)")
            }
        }
    }
}

impl From<MigrateError> for Trouble {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Identity(error) => error.into(),
            MigrateError::Registration(error) => error.into(),
            MigrateError::Disk(error) => error.into(),
        }
    }
}

impl From<RegistrationError> for Trouble {
    fn from(error: RegistrationError) -> Self {
        match &error {
            RegistrationError::BadName(_) => Self::usage(error.to_string()),
            RegistrationError::Unreadable(_) => {
                told("registration_damaged", &error).mend("amesh register --force")
            }
            RegistrationError::Disk(_) => told("disk", &error),
        }
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Disk(error) => error.into(),
            FileError::Api(error) => error.into(),
            FileError::TooMuch(_) => told("payload_too_large", &error),
            FileError::Rejected { .. } => {
                told("attachment_rejected", &error).mend("put it into a zip archive, if it must be sent")
            }
            FileError::Unchecked(_) => told("attachment_pending", &error),
            FileError::Damaged { .. } => told("attachment_damaged", &error),
        }
    }
}

impl From<DiskError> for Trouble {
    fn from(error: DiskError) -> Self {
        told("disk", &error)
    }
}

/// What the node's refusal of an owner's request means, and what to type instead.
fn not_done(body: &amesh_proto::api::error::ErrorBody) -> Trouble {
    let detail = |name: &str| body.details.get(name).and_then(|word| word.as_str());
    let code = detail("reason").unwrap_or(&body.error);
    let trouble = Trouble::new(code.to_owned(), body.message.clone());
    match (detail("try"), code) {
        (Some(mend), _) => trouble.mend(mend),
        (None, "has_members") => trouble.mend("amesh join TICKET --leave"),
        (None, "already_member" | "ambiguous" | "not_found" | "not_allowed") => trouble.mend("amesh peers"),
        (None, "unreachable" | "internal_error") => trouble.mend("amesh doctor"),
        (None, code) if code.contains("ticket") => trouble.mend("amesh invite (on the other machine)"),
        _ => trouble,
    }
}

/// What an API's refusal means to the person who typed the command.
fn refused(status: u16, body: &amesh_proto::api::error::ErrorBody) -> Trouble {
    let mut trouble = Trouble::new(body.error.clone(), body.message.clone());
    if let Some(field) = &body.field {
        trouble = trouble.because(format!("the field `{field}` was not accepted ({})", body.error));
    } else {
        trouble = trouble.because(format!("{} (HTTP {status})", body.error));
    }
    let told = body.details.get("try").and_then(|mend| mend.as_str());
    match (told, body.error.as_str()) {
        (Some(mend), _) => trouble.mend(mend),
        (None, "unauthorized") => trouble.mend("amesh register --force"),
        (None, "name_taken") => match body.suggestions.first() {
            Some(name) => trouble.mend(format!("amesh register --name {name}")),
            None => trouble.mend("amesh register --name OTHER-NAME"),
        },
        (None, "key_conflict") => trouble.mend("amesh doctor"),
        (None, "not_found") => trouble.mend("amesh agents"),
        (None, "rate_limited") => match body.retry_after {
            Some(seconds) => trouble.mend(format!("the same again in {seconds} s")),
            None => trouble.mend("the same again later"),
        },
        (None, "queue_full") => trouble.mend("amesh queue list"),
        _ => trouble,
    }
}

/// `error` with everything that caused it as the reason.
fn told(code: &'static str, error: &(dyn Error + 'static)) -> Trouble {
    let trouble = Trouble::new(code, error.to_string());
    let mut why = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if why.last() != Some(&text) {
            why.push(text);
        }
        cause = error.source();
    }
    if why.is_empty() { trouble } else { trouble.because(why.join(": ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_proto::api::error::ErrorBody;

    #[test]
    fn no_node_means_start_one() {
        let trouble = Trouble::from(FindError::NotRunning("/d".into()));
        assert_eq!(trouble.code, "node_not_running");
        assert_eq!(trouble.mend.as_deref(), Some("amesh up --detach"));
        assert!(trouble.what.contains("/d"));
    }

    #[test]
    fn a_taken_name_comes_with_one_that_is_free() {
        let body = ErrorBody {
            error: "name_taken".to_owned(),
            message: "taken".to_owned(),
            suggestions: vec!["alice-h2".to_owned()],
            ..ErrorBody::default()
        };
        let trouble = Trouble::from(ApiError::Refused { status: 409, body: Box::new(body) });
        assert_eq!(trouble.code, "name_taken");
        assert_eq!(trouble.mend.as_deref(), Some("amesh register --name alice-h2"));
    }

    #[test]
    fn the_nodes_own_mending_command_is_passed_on() {
        let body: Box<ErrorBody> = serde_json::from_str(
            r#"{"error":"in_a_mesh","message":"m","details":{"try":"amesh join --leave"}}"#,
        )
        .unwrap();
        let trouble = Trouble::from(ControlError::Refused(body));
        assert_eq!(trouble.mend.as_deref(), Some("amesh join --leave"));
    }

    #[test]
    fn causes_are_told_once_each() {
        let io = std::io::Error::other("no space left");
        let error = DiskError { doing: "write", path: "/x".into(), source: io };
        assert_eq!(Trouble::from(error).why.as_deref(), Some("no space left"));
    }
}
