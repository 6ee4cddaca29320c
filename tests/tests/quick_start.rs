//! The protocol README's quick start as written: `openssl`, `curl` and a stock WebSocket client against a node.

use amesh_tests::agent::{Letter, TestAgent};
use amesh_tests::lab::skip;
use amesh_tests::node::Node;
use amesh_tests::place::Place;
use amesh_tests::shell;
use amesh_tests::socket::Socket;
use anyhow::Result;
use serde_json::Value;

/// Words for the scripts below: keys, registration, signing, and reading JSON without jq.
const WORDS: &str = r#"
field() { sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' | head -n 1; }
post() { curl -sS -X POST "$API$1" -H 'Content-Type: application/json' "${@:2}"; }
register() {
  openssl genpkey -algorithm Ed25519 -out "$1.pem" && openssl pkey -in "$1.pem" -pubout -out "$1.pub"
  post /v1/register -d '{"tenant": "mycompany", "name": "'"$1"'", "key_algorithm": "Ed25519",
    "public_key": "'"$(awk '{printf "%s\\n", $0}' "$1.pub")"'"}' > "$1.json"
  grep -q '"api_key": *"amp_' "$1.json" || { cat "$1.json"; exit 1; }
}
sign() { # sender, recipient's address, subject, payload
  local hash; hash=$(printf %s "$4" | openssl dgst -sha256 -binary | base64 -w0)
  printf %s "$(field address < "$1.json")|$2|$3|normal||$hash" > text
  openssl pkeyutl -sign -inkey "$1.pem" -rawin -in text | base64 -w0
}
register my-agent; register other-agent
me="Authorization: Bearer $(field api_key < my-agent.json)"
other="Authorization: Bearer $(field api_key < other-agent.json)"
to=$(field address < other-agent.json)
payload='{"message":"Can you review PR #42?","type":"request"}'
route() { post /v1/route -H "$me" -d '{"to": "'"$to"'", "subject": "Code review request",
  "payload": '"$payload"', "signature": "'"$1"'"}' "${@:2}"; }
"#;

/// The commands of the page that the user reads.
const PAGE: &str = include_str!("../../docs/quick-start.md");

/// Runs `script` against a node of its own; nothing where a tool is missing.
async fn typed(script: &str) -> Result<Option<Vec<String>>> {
    if let Err(why) = shell::has(&["openssl", "curl", "base64", "awk"]) {
        skip(&why)?;
        return Ok(None);
    }
    let mut node = Node::on_loopback("ann")?;
    node.start().await?;
    let api = format!("http://{}", node.ready()?.api);
    let script = script.replace("http://127.0.0.1:23000", &api);
    Ok(Some(tokio::task::spawn_blocking(move || shell::run(&script, &[("API", &api)])).await??))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_quick_start_page_works_as_it_stands_there() -> Result<()> {
    let blocks: Vec<&str> =
        PAGE.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "the page has lost its commands");
    let looks = r#"
        echo; cat sent.json; echo; cat pending.json"#;
    let Some(lines) = typed(&(blocks.concat() + looks)).await? else { return Ok(()) };
    let said: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let [acknowledged, sent, pending] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(acknowledged["acknowledged"], true);
    assert_eq!((&sent["status"], &sent["method"]), (&"queued".into(), &"relay".into()));
    let arrived = &pending["messages"][0];
    assert_eq!((&arrived["id"], &arrived["envelope"]["subject"]), (&sent["id"], &"Code review".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_signed_with_openssl_sent_polled_and_acknowledged_with_curl() -> Result<()> {
    let script = r#"
        route "$(sign my-agent "$to" 'Code review request' "$payload")" > sent
        id=$(field id < sent)
        curl -sS "$API/v1/messages/pending" -H "$other" > pending
        grep -o 'Can you review PR #42?' pending | head -n 1
        [ "$(field id < pending)" = "$id" ] || { cat sent pending; exit 1; }
        curl -sS -X DELETE "$API/v1/messages/pending/$id" -H "$other" | grep -o '"acknowledged": *true'
        curl -sS "$API/v1/messages/pending" -H "$other" | grep -o '"count": *0'"#;
    let Some(lines) = typed(&(WORDS.to_owned() + script)).await? else { return Ok(()) };
    let lines: Vec<String> = lines.iter().map(|line| line.replace(' ', "")).collect();
    assert_eq!(lines, ["CanyoureviewPR#42?", "\"acknowledged\":true", "\"count\":0"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_is_refused_and_leaves_nothing_behind() -> Result<()> {
    let script = r#"
        route "$(sign my-agent "$to" 'Another subject' "$payload")" -o refused -w '%{http_code}\n'
        field error < refused; echo
        curl -sS "$API/v1/messages/pending" -H "$other" | grep -o '"count": *0' | tr -d ' '"#;
    let Some(lines) = typed(&(WORDS.to_owned() + script)).await? else { return Ok(()) };
    assert_eq!(lines, ["403", "signature_invalid", "\"count\":0"]);
    Ok(())
}

async fn two_agents(node: &mut Node) -> Result<(TestAgent, TestAgent)> {
    node.start().await?;
    Ok((node.agent("ann").await?, node.agent("bob").await?))
}

#[tokio::test]
async fn mail_is_pushed_live_to_a_stock_client_and_stays_until_it_is_acknowledged() -> Result<()> {
    let mut node = Node::on_loopback("home")?;
    let (ann, bob) = two_agents(&mut node).await?;
    let mut socket = bob.connect().await?;
    let id = ann.send(&bob.address, "live").await?;
    let pushed = socket.expect("message.new").await?;
    assert_eq!((&pushed["id"], &pushed["envelope"]["subject"]), (&id.clone().into(), &"live".into()));
    assert_eq!(bob.pending().await?.len(), 1);
    socket.say(&serde_json::json!({"type": "ack", "id": id})).await?;
    amesh_tests::wait::wait_until("an empty mailbox", || async { Ok(bob.pending().await?.is_empty()) }).await
}

#[tokio::test]
async fn the_readmes_header_form_opens_a_socket_as_the_frame_does() -> Result<()> {
    let mut node = Node::on_loopback("home")?;
    let (ann, bob) = two_agents(&mut node).await?;
    let api = node.ready()?.api;
    let mut socket = Socket::open_by_header(&Place::here(), api, &bob.key).await?;
    ann.send(&bob.address, "live").await?;
    assert_eq!(socket.expect("message.new").await?["envelope"]["subject"], "live");
    assert!(Socket::open_by_header(&Place::here(), api, "amp_live_sk_wrong").await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_repeated_send_with_one_id_is_delivered_once_and_other_content_is_a_conflict() -> Result<()> {
    let mut node = Node::on_loopback("home")?;
    let (ann, bob) = two_agents(&mut node).await?;
    let mut letter = Letter::new(&bob.address, "once", "hello");
    letter.id = Some("msg_1700000000_abcdef".into());
    let (first, again) = (ann.route(&letter).await?, ann.route(&letter).await?);
    assert_eq!((again.status, &again.body["id"]), (200, &first.ok()?["id"]));
    letter.text = "goodbye".into();
    assert_eq!(ann.route(&letter).await?.status, 409);
    assert_eq!(bob.pending().await?.len(), 1);
    Ok(())
}
