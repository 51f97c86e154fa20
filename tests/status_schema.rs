//! `wanfo status --format json` is a contract with other people's programs: what the real program prints is what
//! docs/status.schema.json says, no field less and none more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use boon::{Compiler, SchemaIndex, Schemas};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor, value::Error};
use serde::forward_to_deserialize_any;
use serde_json::{Value, json};
use wanfo::core::lease::Client;
use wanfo::core::problem::Code;

const SCHEMA: &str = include_str!("../docs/status.schema.json");
const STATE: &str = include_str!("fixtures/state-v2.json");

/// Every field, by the way to it. What stands here was promised: a line is only ever added.
const FIELDS: &[&str] = &[
    "version",
    "active",
    "since",
    "reason",
    "forced",
    "hold",
    "next_switch_after",
    "last_check",
    "stale",
    "redundant",
    "problems",
    "problems[].code",
    "problems[].link",
    "problems[].text",
    "veto",
    "notifications_pending",
    "links",
    "links[].name",
    "links[].interface",
    "links[].gateway",
    "links[].gateway6",
    "links[].gateway_source",
    "links[].gateway6_source",
    "links[].up",
    "links[].active",
    "links[].silent_for_ms",
    "links[].stable_in_ms",
    "links[].relapses",
    "links[].routes_only",
    "links[].probed",
    "links[].last_probe",
    "links[].last_error",
    "links[].last_proof",
    "links[].targets",
    "links[].targets[].address",
    "links[].targets[].ok",
    "links[].targets[].rtt_ms",
    "links[].targets[].error",
    "links[].useless",
    "links[].last_service_check",
    "links[].checks",
    "links[].checks[].check",
    "links[].checks[].ok",
    "links[].checks[].took_ms",
    "links[].checks[].error",
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("docs/status.schema.json is JSON")
}

/// The names that serde reads and writes for an enum's variants, from serde itself, so that none can be forgotten.
fn names_of<'de, T: Deserialize<'de>>() -> BTreeSet<&'static str> {
    struct Ask<'a>(&'a mut BTreeSet<&'static str>);
    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(serde::de::Error::custom("no enum"))
        }
        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(variants);
            self.deserialize_any(visitor)
        }
        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }
    let mut names = BTreeSet::new();
    let _ = T::deserialize(Ask(&mut names));
    assert!(!names.is_empty(), "an enum");
    names
}

/// What the real program prints for this state file, or without one.
fn status(state: Option<&Value>) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let links = "links: [{name: primary, interface: eth0}, {name: secondary, interface: eth1}]";
    fs::write(
        folder.path().join("wanfo.yaml"),
        format!("{links}\npaths: {{run: {at}/run, state: {at}/state}}\n"),
    )
    .unwrap();
    if let Some(state) = state {
        fs::create_dir(folder.path().join("run")).unwrap();
        fs::write(folder.path().join("run/state.json"), state.to_string()).unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        let proofs = json!({"primary": {"at": "2026-11-22T23:14:05.123Z", "interface": "eth0"}});
        fs::write(folder.path().join("state/proofs.json"), proofs.to_string()).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_wanfo"));
    command.args(["status", "--format", "json", "--config"]).arg(folder.path().join("wanfo.yaml"));
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one value of JSON")
}

/// The state file of yesterday, of this boot, with everything in it that a status can tell.
fn full() -> Value {
    let mut state: Value = serde_json::from_str(STATE).unwrap();
    state["boot_id"] = json!(fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim());
    state["veto"] = json!({"at": 736_020, "hangs": 0, "why": "the exit script /etc/wanfo/exit says not now (exit code 1)"});
    // Later than this machine can have been up.
    state["next_switch_after"] = json!(u64::from(u32::MAX) * 1000);
    state["problems"] = names_of::<Code>()
        .iter()
        .map(|code| json!({"code": code, "link": "primary", "text": "a sentence"}))
        .collect();
    let links = state["links"].as_array_mut().unwrap();
    let sources = ["config", "default-route"].into_iter().chain(names_of::<Client>());
    // A link for each source of a gateway.
    *links = sources
        .flat_map(|source| {
            links.clone().into_iter().map(move |mut link| {
                (link["gateway_source"], link["gateway6_source"]) = (json!(source), json!(source));
                link["stable_since"] = json!(730_000);
                link["services"] = json!({
                    "asked_at": 730_000, "failed_rounds": 2, "useless": true,
                    "checks": [
                        {"check": "TCP port 443 at 203.0.113.80", "took_ms": 8.25, "error": null, "failed": 0},
                        {"check": "DNS example.com at 198.51.100.53", "took_ms": null, "error": "does not answer", "failed": 2},
                    ],
                });
                link
            })
        })
        .collect();
    state
}

/// Each field that is there, by the way to it, and whether it ever had a value.
fn fields_of(value: &Value, way: &str, found: &mut BTreeMap<String, bool>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let way = if way.is_empty() { name.clone() } else { format!("{way}.{name}") };
                *found.entry(way.clone()).or_default() |= !value.is_null();
                fields_of(value, &way, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields_of(item, &format!("{way}[]"), found)),
        _ => {}
    }
}

/// The same of the schema, and whether the field has to be there.
fn fields_in_schema(schema: &Value, part: &Value, way: &str, found: &mut BTreeMap<String, bool>) {
    let part = match part["$ref"].as_str() {
        Some(place) => schema
            .pointer(place.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{place} is not in the schema")),
        None => part,
    };
    for (name, field) in part["properties"].as_object().into_iter().flatten() {
        let way = if way.is_empty() { name.clone() } else { format!("{way}.{name}") };
        let required = part["required"].as_array().is_some_and(|names| names.contains(&json!(name)));
        found.insert(way.clone(), required);
        fields_in_schema(schema, field, &way, found);
    }
    if !part["items"].is_null() {
        fields_in_schema(schema, &part["items"], &format!("{way}[]"), found);
    }
}

fn validate(value: &Value) -> Result<(), String> {
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource("status.schema.json", schema()).unwrap();
    let mut schemas = Schemas::new();
    let index: SchemaIndex =
        compiler.compile("status.schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
    schemas.validate(value, index).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_the_program_prints_is_what_the_schema_says() {
    for status in [status(None), status(Some(&full()))] {
        validate(&status).unwrap_or_else(|error| panic!("{error}\n{status:#}"));
    }
}

#[test]
fn what_the_program_would_never_print_is_refused() {
    let good = status(Some(&full()));
    let spoilt: &[(&str, Value)] = &[
        ("/version", json!(1)),
        ("/since", json!("yesterday")),
        ("/hold", json!(null)),
        ("/problems/0", json!("no carrier")),
        ("/problems/0/code", json!("gremlins")),
        ("/links/0/gateway", json!("198.51.100")),
        ("/links/0/gateway_source", json!("hearsay")),
        ("/links/0/last_proof", json!("last week")),
        ("/links/0/targets/0/address", json!(null)),
        ("/links/0/targets/1/rtt_ms", json!(-1)),
    ];
    for (place, value) in spoilt {
        let mut status = good.clone();
        *status.pointer_mut(place).expect(place) = value.clone();
        assert!(validate(&status).is_err(), "{place}: {value}");
    }
}

#[test]
fn every_field_is_promised_described_and_printed() {
    let mut printed = BTreeMap::new();
    fields_of(&status(Some(&full())), "", &mut printed);
    let mut described = BTreeMap::new();
    let schema = schema();
    fields_in_schema(&schema, &schema, "", &mut described);
    let mut wrong = Vec::new();
    let promised = FIELDS.iter().map(|field| (*field).to_owned());
    let all: BTreeSet<String> =
        promised.chain(printed.keys().cloned()).chain(described.keys().cloned()).collect();
    for field in &all {
        if !FIELDS.contains(&field.as_str()) {
            wrong.push(format!("`{field}` is new: add it to FIELDS in this file"));
        }
        match printed.get(field) {
            None => wrong.push(format!(
                "`{field}` is not printed any more (src/core/report/json.rs): that breaks readers, and a field stays. Only \
                 in a version that nobody has yet may it go, from FIELDS and the schema as well"
            )),
            Some(false) => wrong.push(format!(
                "`{field}` is null wherever this test looks: give it a value in tests/fixtures/state-v2.json, or in \
                 `full` of this file"
            )),
            Some(true) => {}
        }
        match described.get(field) {
            None => wrong.push(format!(
                "`{field}` is not in docs/status.schema.json: add it to `properties` there with its meaning, and to \
                 `required`"
            )),
            Some(false) => wrong.push(format!("`{field}` is always printed: add it to `required` in docs/status.schema.json")),
            Some(true) => {}
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_problem_has_its_code_and_meaning_in_the_schema() {
    let schema = schema();
    let described = schema["$defs"]["code"]["oneOf"].as_array().unwrap();
    let codes: BTreeSet<&str> = described.iter().map(|code| code["const"].as_str().unwrap()).collect();
    let known = names_of::<Code>();
    let missing: Vec<_> = known.difference(&codes).collect();
    assert!(
        missing.is_empty(),
        "add to `$defs.code.oneOf` of docs/status.schema.json, with the meaning: {missing:?}"
    );
    let left: Vec<_> = codes.difference(&known).collect();
    assert!(
        left.is_empty(),
        "no `Code` of src/core/problem.rs has these names, which were promised: {left:?}"
    );
    let mut meanings = BTreeSet::new();
    for code in described {
        let meaning = code["description"].as_str().unwrap_or_default();
        assert!(meaning.ends_with('.') && meanings.insert(meaning), "{code} needs a meaning of its own");
    }
}

#[test]
fn every_source_of_a_gateway_is_in_the_schema() {
    let schema = schema();
    let described = schema["$defs"]["gateway_source"]["enum"].as_array().unwrap();
    let described: BTreeSet<&str> = described.iter().filter_map(Value::as_str).collect();
    let known: BTreeSet<&str> = ["config", "default-route"].into_iter().chain(names_of::<Client>()).collect();
    assert_eq!(described, known);
}
