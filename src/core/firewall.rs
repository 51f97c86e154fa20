//! What the rules of nftables mean for links, as far as a look at them tells (libnftables-json(5)). It takes what it does
//! not understand for something that fits: better no word than a wrong one.

use serde_json::Value;

/// A ruleset, as `nft -j list ruleset` prints it.
pub struct Firewall {
    chains: Vec<Value>,
    rules: Vec<Value>,
}

impl Firewall {
    pub fn read(text: &str) -> Option<Firewall> {
        // Remarks may stand before it, as on tables of iptables.
        let json = text.get(text.find('{')?..)?;
        let mut ruleset: Value = serde_json::from_str(json).ok()?;
        let (mut chains, mut rules) = (Vec::new(), Vec::new());
        for entry in ruleset.get_mut("nftables")?.as_array_mut()? {
            chains.extend(entry.get_mut("chain").map(Value::take));
            rules.extend(entry.get_mut("rule").map(Value::take));
        }
        Some(Firewall { chains, rules })
    }

    /// Whether something gives what is forwarded out of this interface an address of the interface's own.
    pub fn translates(&self, interface: &str) -> bool {
        let translating = |expression: &Value| {
            ["masquerade", "snat", "xt"].iter().any(|kind| expression.get(kind).is_some())
        };
        self.bases("postrouting", "nat").any(|base| {
            let rules = self.rules_of(base, "oifname", interface);
            rules.iter().any(|rule| expressions(rule).iter().any(translating))
        })
    }

    /// The chain that drops the echo replies that come in by this interface.
    pub fn refuses_replies(&self, interface: &str) -> Option<&str> {
        self.bases("input", "filter").find_map(|base| {
            let verdict = self.rules_of(base, "iifname", interface).into_iter().find_map(|rule| {
                let text = rule["expr"].to_string();
                let is_about_replies =
                    text.contains("icmp") && (text.contains("echo-reply") || !text.contains("\"type\""));
                let says =
                    |verdict| expressions(rule).iter().any(|expression| expression.get(verdict).is_some());
                let narrows =
                    |expression: &Value| expression.get("match").is_some_and(|it| !names(it, "iifname"));
                if text.contains("\"established\"") || text.contains("\"xt\"") {
                    return Some(false);
                }
                match (says("accept"), says("drop") || says("reject")) {
                    (true, _) if is_about_replies || !expressions(rule).iter().any(narrows) => Some(false),
                    (_, true) if is_about_replies || !expressions(rule).iter().any(narrows) => Some(true),
                    _ => None,
                }
            });
            verdict.unwrap_or(base["policy"] == "drop").then(|| base["name"].as_str()).flatten()
        })
    }

    fn bases<'a>(&'a self, hook: &'a str, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.chains.iter().filter(move |chain| {
            let is_ipv4 = chain["family"] == "ip" || chain["family"] == "inet";
            is_ipv4 && chain["hook"] == hook && chain["type"] == kind
        })
    }

    /// The rules of a base chain for what passes the interface, with those of the chains that it leads to, in their order.
    fn rules_of<'a>(&'a self, base: &Value, key: &str, interface: &str) -> Vec<&'a Value> {
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        self.walk(base, &base["name"], &|rule| fits(rule, key, interface), &mut seen, &mut found);
        found
    }

    fn walk<'a>(
        &'a self,
        base: &Value,
        chain: &Value,
        fits: &dyn Fn(&Value) -> bool,
        seen: &mut Vec<Value>,
        found: &mut Vec<&'a Value>,
    ) {
        if seen.contains(chain) {
            return;
        }
        seen.push(chain.clone());
        let of_base = |rule: &&Value| ["family", "table"].iter().all(|key| rule[*key] == base[*key]);
        for rule in self.rules.iter().filter(of_base).filter(|rule| rule["chain"] == *chain && fits(rule)) {
            found.push(rule);
            let mut chains = Vec::new();
            targets(&rule["expr"], &mut chains);
            chains.into_iter().for_each(|chain| self.walk(base, chain, fits, seen, found));
        }
    }
}

fn expressions(rule: &Value) -> &[Value] {
    rule["expr"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a match is about the interface.
fn names(matching: &Value, key: &str) -> bool {
    let meta = &matching["left"]["meta"]["key"];
    // `oif` is the interface by its number, which is listed by its name.
    meta == key || meta.as_str() == key.strip_suffix("name")
}

/// Whether a rule's own matches let the interface through.
fn fits(rule: &Value, key: &str, interface: &str) -> bool {
    let matches = expressions(rule).iter().filter_map(|expression| expression.get("match"));
    matches.filter(|matching| names(matching, key)).all(|matching| {
        let is_in = is_among(&matching["right"], interface);
        if matching["op"] == "!=" { !is_in } else { is_in }
    })
}

fn is_among(names: &Value, interface: &str) -> bool {
    match names {
        // A set by its name is not looked up.
        Value::String(name) if name.starts_with('@') => true,
        Value::String(name) => match name.strip_suffix('*') {
            Some(beginning) => interface.starts_with(beginning),
            None => name == interface,
        },
        Value::Array(names) => names.iter().any(|name| is_among(name, interface)),
        Value::Object(set) => set.get("set").is_none_or(|names| is_among(names, interface)),
        _ => true,
    }
}

/// Where `jump` and `goto` lead, in verdict maps too.
fn targets<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match key.as_str() {
            "target" => found.push(value),
            _ => targets(value, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| targets(value, found)),
        _ => {}
    }
}
