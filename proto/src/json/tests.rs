//! What is JSON here, what is not, and that writing loses nothing.

use super::*;
use crate::limits::JSON_DEPTH;
use proptest::prelude::*;
use serde_json::Value;

fn sorted(text: &str) -> String {
    parse_object(text.as_bytes()).unwrap().write(KeyOrder::Sorted, Spelling::Verbatim)
}

fn written(text: &str, order: KeyOrder, spelling: Spelling) -> String {
    parse_object(text.as_bytes()).unwrap().write(order, spelling)
}

#[test]
fn what_is_not_strict_json_is_refused_where_it_stops_being_json() {
    for (text, error) in [
        ("", JsonError::Syntax(0)),
        ("[1]", JsonError::NotAnObject),
        ("null", JsonError::NotAnObject),
        ("nul", JsonError::Syntax(0)),
        ("{", JsonError::Syntax(1)),
        ("{}x", JsonError::Syntax(2)),
        ("{} {}", JsonError::Syntax(3)),
        (r#"{"a"}"#, JsonError::Syntax(4)),
        (r#"{"a":1,}"#, JsonError::Syntax(7)),
        (r#"{"a":01}"#, JsonError::Syntax(6)),
        (r#"{"a":+1}"#, JsonError::Syntax(5)),
        (r#"{"a":1.}"#, JsonError::Syntax(7)),
        (r#"{"a":.5}"#, JsonError::Syntax(5)),
        (r#"{"a":1e}"#, JsonError::Syntax(7)),
        (r#"{"a":NaN}"#, JsonError::Syntax(5)),
        (r#"{'a':1}"#, JsonError::Syntax(1)),
        (r#"{"a":"\x"}"#, JsonError::Syntax(7)),
        (r#"{"a":"\u12"}"#, JsonError::Syntax(8)),
        ("{\"a\":\"\n\"}", JsonError::Syntax(6)),
        (r#"{"a":"b"#, JsonError::Syntax(7)),
        (r#"{"a":[1 2]}"#, JsonError::Syntax(8)),
        ("\u{feff}{}", JsonError::Syntax(0)),
        (r#"{"a":"\ud800"}"#, JsonError::Surrogate(5)),
        (r#"{"a":"\udc00"}"#, JsonError::Surrogate(5)),
        (r#"{"a":"\ud800\u0041"}"#, JsonError::Surrogate(5)),
    ] {
        assert_eq!(parse_object(text.as_bytes()).err(), Some(error), "{text}");
    }
    assert_eq!(parse_object(b"{\"a\":\"\xff\"}").err(), Some(JsonError::Utf8(6)));
}

#[test]
fn the_same_key_twice_is_refused_however_it_is_spelled_and_however_deep() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":[{"y":{"é":1,"\u00e9":2}}]}"#,
        r#"{"\ud83d\ude00":1,"b":0,"😀":2}"#,
    ] {
        assert!(matches!(parse_object(text.as_bytes()), Err(JsonError::DuplicateKey(_))), "{text}");
    }
    assert!(parse_object(r#"{"a":{"a":1},"A":2,"\u00e1":3,"a\u0301":4}"#.as_bytes()).is_ok());
}

#[test]
fn nesting_stops_at_the_limit() {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert!(parse_object(nested(JSON_DEPTH).as_bytes()).is_ok());
    assert_eq!(parse_object(nested(JSON_DEPTH + 1).as_bytes()).err(), Some(JsonError::TooDeep));
    let arrays = format!("{{\"a\":{}", "[".repeat(1_000_000));
    assert_eq!(parse_object(arrays.as_bytes()).err(), Some(JsonError::TooDeep));
}

#[test]
fn members_are_found_by_meaning_and_kept_verbatim() {
    let text = r#"{ "\u0061" : [1.0, 2e5] , "m":"x\/y" }"#;
    let document = parse_object(text.as_bytes()).unwrap();
    assert_eq!(document.member("a").unwrap().raw, "[1.0, 2e5]");
    let m = document.member("m").unwrap();
    assert_eq!((m.raw, &*m.value.as_text().unwrap().decode()), (r#""x\/y""#, "x/y"));
    assert_eq!(&text[m.at..m.at + m.raw.len()], m.raw);
    assert!(document.member("b").is_none());
}

#[test]
fn sorting_goes_by_code_point_and_leaves_tokens_alone() {
    assert_eq!(
        sorted(r#" {"z":1.0,"a":{"c":-0,"b":[{"y":1e400,"x":12345678901234567890}]},"\u0062":"\u00e9"} "#),
        r#"{"a":{"b":[{"x":12345678901234567890,"y":1e400}],"c":-0},"\u0062":"\u00e9","z":1.0}"#
    );
    assert_eq!(sorted(r#"{"😀":1,"￠":2,"é":3,"e":4}"#), r#"{"e":4,"é":3,"￠":2,"😀":1}"#);
}

#[test]
fn javascript_puts_array_indexes_first_and_astral_characters_before_the_last_of_the_plane() {
    let text = r#"{"b":1,"10":2,"9":3,"02":4,"😀":5,"￠":6,"4294967295":7,"4294967294":8}"#;
    assert_eq!(
        written(text, KeyOrder::JavaScript, Spelling::Raw),
        r#"{"9":3,"10":2,"4294967294":8,"02":4,"4294967295":7,"b":1,"😀":5,"￠":6}"#
    );
}

#[test]
fn strings_are_spelled_as_each_program_spells_them() {
    let text = "{\"a\":\"\\u00e9\\/\\u001F\\ud83d\\ude00\u{7f}\\u0041\u{e9}\"}";
    assert_eq!(written(text, KeyOrder::Sorted, Spelling::Raw), "{\"a\":\"é/\\u001f😀\\u007fAé\"}");
    assert_eq!(written(text, KeyOrder::AsReceived, Spelling::Raw), "{\"a\":\"é/\\u001f😀\u{7f}Aé\"}");
    assert_eq!(
        written(text, KeyOrder::Sorted, Spelling::Ascii),
        r#"{"a":"\u00e9/\u001f\ud83d\ude00\u007fA\u00e9"}"#
    );
}

#[test]
fn facts_tell_when_a_spelling_cannot_differ() {
    let facts = |text: &str| parse_object(text.as_bytes()).unwrap().facts();
    let plain = facts(r#"{"a":"x\n\"\\\u0001","b":1}"#);
    assert!(plain.compact && plain.sorted);
    assert!(!plain.raw_differs && !plain.ascii_differs && !plain.js_differs);
    assert!(facts(r#"{"a":"é"}"#).ascii_differs && !facts(r#"{"a":"é"}"#).raw_differs);
    assert!(facts(r#"{"a":"\u00e9"}"#).raw_differs && !facts(r#"{"a":"\u00e9"}"#).ascii_differs);
    assert!(facts(r#"{"a":"\/"}"#).raw_differs && facts(r#"{"a":"\/"}"#).ascii_differs);
    assert!(facts("{\"a\":\"\u{7f}\"}").raw_differs);
    assert!(facts(r#"{"1":1}"#).js_differs && facts(r#"{"😀":1}"#).js_differs);
    assert!(!facts(r#"{"b":1,"a":2}"#).sorted && !facts(r#"{"a": 1}"#).compact);
}

/// Any JSON value, as serde_json builds it.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((".{0,4}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    proptest::collection::vec(("[a-d0-9é😀￠\u{7f}/]{0,3}", value()), 0..6)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #[test]
    fn what_serde_writes_is_read_and_written_the_same(value in object()) {
        let text = value.to_string();
        prop_assert_eq!(written(&text, KeyOrder::AsReceived, Spelling::Verbatim), &text[..]);
        prop_assert_eq!(written(&text, KeyOrder::AsReceived, Spelling::Raw), &text[..]);
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(written(&pretty, KeyOrder::AsReceived, Spelling::Verbatim), &text[..]);
    }

    #[test]
    fn every_form_means_the_same_and_writing_it_again_changes_nothing(value in object()) {
        let text = value.to_string();
        for order in [KeyOrder::Sorted, KeyOrder::AsReceived, KeyOrder::JavaScript] {
            for spelling in [Spelling::Verbatim, Spelling::Raw, Spelling::Ascii] {
                let once = written(&text, order, spelling);
                prop_assert_eq!(&serde_json::from_str::<Value>(&once).unwrap(), &value);
                prop_assert_eq!(&written(&once, order, spelling), &once);
                prop_assert_eq!(written(&once, KeyOrder::Sorted, Spelling::Raw), written(&text, KeyOrder::Sorted, Spelling::Raw));
            }
        }
    }

    #[test]
    fn we_accept_no_text_that_serde_refuses(text in r#"[\{\}\[\]",:0-9a-fnrtule\\ \.+-]{0,30}"#) {
        let text = format!("{{{text}}}");
        if parse_object(text.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok() || text.contains('e'), "{}", text);
        }
    }

    /// The facts spare work; were they wrong, a form would be missed.
    #[test]
    fn facts_agree_with_what_is_written(
        text in r#"([a-c\u{7f}é😀]|\\u00[0-8][0-9a-fA-F]|\\u[2-9a-cA-C]0fF|\\ud83d\\ude0[0aA]|\\[nrtbf"\\/]){0,6}"#,
    ) {
        let text = format!("{{\"m\":\"{text}\"}}");
        let Ok(document) = parse_object(text.as_bytes()) else { return Ok(()) };
        let same = |spelling| document.write(KeyOrder::AsReceived, spelling) == text;
        let del = text.contains('\u{7f}');
        prop_assert_eq!(document.facts().raw_differs, !same(Spelling::Raw) || del);
        prop_assert_eq!(document.facts().ascii_differs, !same(Spelling::Ascii));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>()) {
        let _outcome = parse_object(&bytes);
    }
}
