//! Which directory is the acting agent's.

use super::*;

fn around(home: &Path) -> Surroundings {
    Surroundings { user_home: Some(home.to_owned()), ..Surroundings::default() }
}

fn settle(root: &Path, dir: &str, name: &str) -> PathBuf {
    let home = AgentHome::at(root.join(".agent-messaging").join(dir));
    home.make().unwrap();
    std::fs::write(home.private_key(), "").unwrap();
    std::fs::write(home.config(), format!(r#"{{"agent":{{"name":"{name}"}}}}"#)).unwrap();
    home.dir().to_owned()
}

#[test]
fn the_places_are_asked_in_the_order_of_the_reference_client() {
    let user = tempfile::tempdir().unwrap();
    let agents = user.path().join(".agent-messaging/agents");
    std::fs::create_dir_all(&agents).unwrap();
    std::fs::write(agents.join(".index.json"), r#"{"alice":"11-22"}"#).unwrap();
    let dir = |around: &Surroundings| AgentHome::find(around).unwrap().dir().to_owned();

    let mut who = around(user.path());
    who.tmux_session = Some("carol_2".to_owned());
    assert_eq!(dir(&who), agents.join("carol"));
    who.agent_name = Some("alice".to_owned());
    assert_eq!(dir(&who), agents.join("11-22"));
    who.agent_id = Some("33-44".to_owned());
    assert_eq!(dir(&who), agents.join("33-44"));
    who.amp_dir = Some("/amp".into());
    assert_eq!(dir(&who), Path::new("/amp"));
    who.agent = Some("Bob".to_owned());
    assert_eq!(dir(&who), agents.join("bob"), "what is said for this command wins");
}

#[test]
fn the_flat_root_serves_where_nobody_is_named() {
    let user = tempfile::tempdir().unwrap();
    let root = settle(user.path(), "", "solo");
    assert_eq!(AgentHome::find(&around(user.path())).unwrap().dir(), root);
}

#[test]
fn the_only_agent_of_a_machine_need_not_be_named() {
    let user = tempfile::tempdir().unwrap();
    let alice = settle(user.path(), "agents/11-22", "alice");
    std::os::unix::fs::symlink(&alice, alice.with_file_name("alice")).unwrap();
    let found = AgentHome::find(&around(user.path())).unwrap();
    assert_eq!(std::fs::canonicalize(found.dir()).unwrap(), std::fs::canonicalize(alice).unwrap());
}

#[test]
fn of_several_agents_one_must_be_named() {
    let user = tempfile::tempdir().unwrap();
    settle(user.path(), "agents/11-22", "bob");
    settle(user.path(), "agents/33-44", "alice");
    match AgentHome::find(&around(user.path())) {
        Err(HomeError::Several(names)) => assert_eq!(names, ["alice", "bob"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_here_is_an_error() {
    let user = tempfile::tempdir().unwrap();
    assert!(matches!(AgentHome::find(&around(user.path())), Err(HomeError::Nobody(_))));
}

#[test]
fn a_name_cannot_lead_out_of_the_directory() {
    let user = tempfile::tempdir().unwrap();
    for name in ["../x", "a/b", "..", "", "-rf", "a b"] {
        let who = Surroundings { agent: Some(name.to_owned()), ..around(user.path()) };
        assert!(matches!(AgentHome::find(&who), Err(HomeError::BadName(_))), "{name}");
    }
}

#[test]
fn an_index_cannot_lead_out_of_the_directory_either() {
    let user = tempfile::tempdir().unwrap();
    let agents = user.path().join(".agent-messaging/agents");
    std::fs::create_dir_all(&agents).unwrap();
    std::fs::write(agents.join(".index.json"), r#"{"alice":"../../../etc"}"#).unwrap();
    let who = Surroundings { agent: Some("alice".to_owned()), ..around(user.path()) };
    assert_eq!(AgentHome::find(&who).unwrap().dir(), agents.join("alice"));
}

#[test]
fn a_session_number_is_not_part_of_the_name() {
    for (session, name) in [("api_2", "api"), ("api_v_12", "api_v"), ("my_agent", "my_agent"), ("api", "api")]
    {
        assert_eq!(without_session_number(session), name);
    }
}
