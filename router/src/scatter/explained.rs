//! Pure: the answer to EXPLAIN of what several shards do, in each of PostgreSQL's formats. The
//! router's part is a node of its own, below it one node for each shard with what that shard said.
//!
//! The shards' documents are put in as they came, line by line; those of an unknown form are not.

/// PostgreSQL's ids of the types in which EXPLAIN answers.
const TEXT_OID: u32 = 25;
const JSON_OID: u32 = 114;
const XML_OID: u32 = 142;

/// By how much the lines of a shard's plan move to the right, and those beside the plan.
const PLAN_INDENT: &str = "        ";
const BESIDE_INDENT: &str = "      ";

/// The format of an EXPLAIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Lines.
    #[default]
    Text,
    /// A document of JSON.
    Json,
    /// A document of XML.
    Xml,
    /// A document of YAML.
    Yaml,
}

impl Format {
    /// The format of a name, as EXPLAIN reads it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [
            ("text", Self::Text),
            ("json", Self::Json),
            ("xml", Self::Xml),
            ("yaml", Self::Yaml),
        ]
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, format)| format)
    }

    /// The type of the answer's column.
    #[must_use]
    pub fn type_oid(self) -> u32 {
        match self {
            Self::Text | Self::Yaml => TEXT_OID,
            Self::Json => JSON_OID,
            Self::Xml => XML_OID,
        }
    }
}

/// What several shards do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What the router does, as the type of a node.
    pub node: &'static str,
    /// How many shards it is about, in words.
    pub headline: String,
    /// What is to be known of it: names as of a plan's properties, and values.
    pub facts: Vec<(&'static str, String)>,
    /// What each shard said.
    pub shards: Vec<OfShard>,
}

/// What a shard said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfShard {
    /// The shard.
    pub shard: String,
    /// Its rows.
    pub rows: Vec<String>,
}

impl Explained {
    /// The rows of the answer; none where a shard's document has a form that is not known.
    #[must_use]
    pub fn rows(&self, format: Format) -> Option<Vec<String>> {
        match format {
            Format::Text => Some(self.lines()),
            Format::Json => Some(vec![self.json()?]),
            Format::Xml => Some(vec![self.xml()?]),
            Format::Yaml => Some(vec![self.yaml()?]),
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.headline.clone()];
        let facts = self.facts.iter();
        lines.extend(facts.map(|(name, value)| format!("  {}: {value}", sentence(name))));
        for OfShard { shard, rows } in &self.shards {
            lines.push(format!("  Shard {shard}:"));
            lines.extend(rows.iter().map(|line| format!("    {line}")));
        }
        lines
    }

    fn json(&self) -> Option<String> {
        let mut out = vec![
            "[".to_owned(),
            "  {".to_owned(),
            "    \"Plan\": {".to_owned(),
        ];
        out.push(format!("      \"Node Type\": {},", quoted(self.node)));
        out.push(format!("      \"Shards\": {},", self.shards.len()));
        for (name, value) in &self.facts {
            out.push(format!("      {}: {},", quoted(name), quoted(value)));
        }
        out.push("      \"Plans\": [".to_owned());
        let last = self.shards.len().saturating_sub(1);
        for (at, OfShard { shard, rows }) in self.shards.iter().enumerate() {
            let said = of_json(&rows.join("\n"))?;
            out.push("        {".to_owned());
            out.push("          \"Node Type\": \"Shard\",".to_owned());
            out.push(format!("          \"Shard\": {},", quoted(shard)));
            out.push("          \"Plans\": [".to_owned());
            out.push("            {".to_owned());
            out.extend(said.plan);
            out.push("            }".to_owned());
            let more = if said.beside.is_empty() { "" } else { "," };
            out.push(format!("          ]{more}"));
            out.extend(said.beside);
            out.push(format!("        }}{}", if at == last { "" } else { "," }));
        }
        out.extend(["      ]", "    }", "  }", "]"].map(str::to_owned));
        Some(out.join("\n"))
    }

    fn yaml(&self) -> Option<String> {
        let mut out = vec!["- Plan: ".to_owned()];
        out.push(format!("    Node Type: {}", quoted(self.node)));
        out.push(format!("    Shards: {}", self.shards.len()));
        for (name, value) in &self.facts {
            out.push(format!("    {name}: {}", quoted(value)));
        }
        out.push("    Plans: ".to_owned());
        for OfShard { shard, rows } in &self.shards {
            let said = of_yaml(&rows.join("\n"))?;
            out.push("      - Node Type: \"Shard\"".to_owned());
            out.push(format!("        Shard: {}", quoted(shard)));
            out.push("        Plans: ".to_owned());
            out.extend(said.plan);
            out.extend(said.beside);
        }
        Some(out.join("\n"))
    }

    fn xml(&self) -> Option<String> {
        let mut out = vec![
            "<explain xmlns=\"http://www.postgresql.org/2009/explain\">".to_owned(),
            "  <Query>".to_owned(),
            "    <Plan>".to_owned(),
        ];
        out.push(element("      ", "Node Type", self.node));
        out.push(element("      ", "Shards", &self.shards.len().to_string()));
        for (name, value) in &self.facts {
            out.push(element("      ", name, value));
        }
        out.push("      <Plans>".to_owned());
        for OfShard { shard, rows } in &self.shards {
            let said = of_xml(&rows.join("\n"))?;
            out.push("        <Plan>".to_owned());
            out.push(element("          ", "Node Type", "Shard"));
            out.push(element("          ", "Shard", shard));
            out.push("          <Plans>".to_owned());
            out.extend(said.plan);
            out.push("          </Plans>".to_owned());
            out.extend(said.beside);
            out.push("        </Plan>".to_owned());
        }
        let end = ["      </Plans>", "    </Plan>", "  </Query>", "</explain>"];
        out.extend(end.map(str::to_owned));
        Some(out.join("\n"))
    }
}

/// A shard's document, moved to its place.
struct Said {
    /// The lines of the plan.
    plan: Vec<String>,
    /// Those beside it, such as how long it took.
    beside: Vec<String>,
}

/// `[`, `{`, `"Plan": {`, ..., `}`, perhaps more, `}`, `]`.
fn of_json(document: &str) -> Option<Said> {
    let document = document.strip_prefix("[\n  {\n    \"Plan\": {\n")?;
    let document = document.strip_suffix("\n  }\n]")?;
    let mut lines = document.lines();
    let mut plan = Vec::new();
    loop {
        match lines.next()? {
            "    }" | "    }," => break,
            line => plan.push(format!("{PLAN_INDENT}{line}")),
        }
    }
    let beside: Vec<String> = lines.map(|line| format!("{BESIDE_INDENT}{line}")).collect();
    // A second plan, of a rule that adds a statement, would be an element of its own.
    let is_one = !beside.iter().any(|line| line.trim_end() == "        {");
    is_one.then_some(Said { plan, beside })
}

/// `- Plan: `, its properties, perhaps more.
fn of_yaml(document: &str) -> Option<Said> {
    let mut lines = document.lines();
    let first = lines.next()?;
    if first.trim_end() != "- Plan:" {
        return None;
    }
    let (mut plan, mut beside) = (Vec::new(), Vec::new());
    for line in lines {
        if line.starts_with('-') {
            return None;
        }
        if beside.is_empty() && line.starts_with("    ") {
            let dash = if plan.is_empty() { "- " } else { "  " };
            let rest = line.strip_prefix("    ")?;
            plan.push(format!("          {dash}{rest}"));
        } else {
            beside.push(format!("{BESIDE_INDENT}{line}"));
        }
    }
    (!plan.is_empty()).then_some(Said { plan, beside })
}

/// `<explain>`, `<Query>`, `<Plan>`, ..., `</Plan>`, perhaps more, `</Query>`, `</explain>`.
fn of_xml(document: &str) -> Option<Said> {
    let (_, document) = document.split_once("\n  <Query>\n")?;
    let document = document.strip_suffix("\n  </Query>\n</explain>")?;
    let (mut plan, mut beside, mut within) = (Vec::new(), Vec::new(), true);
    for line in document.lines() {
        // A text may have lines of its own, which are not moved.
        let is_markup = line.trim_start().starts_with('<') && line.starts_with(' ');
        let moved = |by: &str| match is_markup {
            true => format!("{by}{line}"),
            false => line.to_owned(),
        };
        if line == "  </Query>" {
            return None;
        }
        if within {
            plan.push(moved(PLAN_INDENT));
            within = line != "    </Plan>";
        } else {
            beside.push(moved(BESIDE_INDENT));
        }
    }
    (!within).then_some(Said { plan, beside })
}

/// `Each Shard` is `Each shard` in text.
fn sentence(name: &str) -> String {
    let mut words = name.split(' ');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        format!("{text} {}", word.to_lowercase())
    })
}

/// A string of JSON, and so of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn element(indent: &str, name: &str, value: &str) -> String {
    let name = name.replace(' ', "-");
    let value = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!("{indent}<{name}>{value}</{name}>")
}

#[cfg(test)]
mod tests;
