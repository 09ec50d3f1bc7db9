use super::*;

fn explained(rows: &str) -> Explained {
    let of = |shard: &str| OfShard {
        shard: shard.to_owned(),
        rows: vec![rows.to_owned()],
    };
    Explained {
        node: "Scatter",
        headline: "Scatter over 2 shards".to_owned(),
        facts: vec![
            ("Each Shard", "SELECT a FROM t WHERE b < '\"x\"'".to_owned()),
            ("Then", "rows are passed on".to_owned()),
        ],
        shards: vec![of("shard-1"), of("shard-2")],
    }
}

const JSON: &str = "[
  {
    \"Plan\": {
      \"Node Type\": \"Limit\",
      \"Total Cost\": 35.50,
      \"Plans\": [
        {
          \"Node Type\": \"Seq Scan\"
        }
      ]
    },
    \"Planning Time\": 0.050,
    \"Triggers\": [
    ]
  }
]";

#[test]
fn json_of_shards_is_json_with_their_plans() {
    for document in [
        JSON,
        &JSON.replace(
            ",\n    \"Planning Time\": 0.050,\n    \"Triggers\": [\n    ]",
            "",
        ),
    ] {
        let rows = explained(document).rows(Format::Json).unwrap();
        let [text] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let plan = &value[0]["Plan"];
        assert_eq!(plan["Node Type"], "Scatter");
        assert_eq!(plan["Shards"], 2);
        assert_eq!(plan["Each Shard"], "SELECT a FROM t WHERE b < '\"x\"'");
        assert_eq!(plan["Plans"][1]["Shard"], "shard-2");
        let own = &plan["Plans"][1]["Plans"][0];
        assert_eq!(own["Node Type"], "Limit");
        assert_eq!(own["Plans"][0]["Node Type"], "Seq Scan");
        assert!(text.contains("\"Total Cost\": 35.50"), "{text}");
        let timed = document.contains("Planning Time");
        assert_eq!(plan["Plans"][0]["Planning Time"].is_number(), timed);
    }
}

#[test]
fn yaml_of_shards_keeps_its_indents() {
    let document = "- Plan: \n    Node Type: \"Limit\"\n    Plans: \n      - Node Type: \"Seq Scan\"\n        Alias: \"t\"\n  Planning Time: 0.050\n  Triggers: ";
    let rows = explained(document).rows(Format::Yaml).unwrap();
    let wanted = "- Plan:\x20
    Node Type: \"Scatter\"
    Shards: 2
    Each Shard: \"SELECT a FROM t WHERE b < '\\\"x\\\"'\"
    Then: \"rows are passed on\"
    Plans:\x20
      - Node Type: \"Shard\"
        Shard: \"shard-1\"
        Plans:\x20
          - Node Type: \"Limit\"
            Plans:\x20
              - Node Type: \"Seq Scan\"
                Alias: \"t\"
        Planning Time: 0.050
        Triggers:\x20
      - Node Type: \"Shard\"";
    assert!(rows[0].starts_with(wanted), "{}", rows[0]);
}

#[test]
fn xml_of_shards_keeps_texts_as_they_are() {
    let document = "<explain xmlns=\"http://www.postgresql.org/2009/explain\">\n  <Query>\n    <Plan>\n      <Node-Type>Seq Scan</Node-Type>\n      <Filter>(a = 'x\n  y'::text)</Filter>\n    </Plan>\n    <Planning-Time>0.1</Planning-Time>\n  </Query>\n</explain>";
    let rows = explained(document).rows(Format::Xml).unwrap();
    let text = &rows[0];
    assert!(
        text.contains("<Filter>(a = 'x\n  y'::text)</Filter>"),
        "{text}"
    );
    assert!(text.contains("b &lt; '\"x\"'</Each-Shard>"), "{text}");
    assert_eq!(text.matches("<Planning-Time>").count(), 2);
    assert_eq!(
        text.matches("<Plan>").count(),
        text.matches("</Plan>").count()
    );
    assert_eq!(text.matches("<Plan>").count(), 5);
}

#[test]
fn a_document_of_another_form_is_not_put_in() {
    for format in [Format::Json, Format::Yaml, Format::Xml] {
        assert_eq!(explained("what is this").rows(format), None);
    }
    let two = JSON.replace("\n  }\n]", "\n  },\n  {\n    \"Plan\": {\n    }\n  }\n]");
    assert_eq!(explained(&two).rows(Format::Json), None);
}

#[test]
fn lines_are_indented_below_their_shard() {
    let lines = explained("Seq Scan on t").rows(Format::Text).unwrap();
    assert_eq!(lines[0], "Scatter over 2 shards");
    assert_eq!(lines[1], "  Each shard: SELECT a FROM t WHERE b < '\"x\"'");
    assert_eq!(lines[3..5], ["  Shard shard-1:", "    Seq Scan on t"]);
}
