//! What a configuration file and the environment say of etcd: section `metadata`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use platform::Secret;
use platform::config::Section;
use platform::tls;
use platform::tls::client::http2::Connector;
use platform::tls::client::{ClientConfig, Identity, Mode};

use super::{Config, Credentials};

/// Where etcd is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its members, `host:port` or URLs.
    pub endpoints: Vec<String>,
    /// Time-out of each call.
    pub timeout: Duration,
    /// User and password, where etcd has authentication switched on.
    pub credentials: Option<Credentials>,
    /// The files of TLS, where it is spoken.
    pub tls: Option<ClientConfig>,
}

impl Settings {
    /// Reads section `metadata`, and `ETCD_ENDPOINTS`, `ETCD_USERNAME` and `ETCD_PASSWORD`.
    #[must_use]
    pub fn read(root: &mut Section, env: &BTreeMap<String, String>) -> Self {
        let mut section = root.section("metadata");
        section.choice("type", &[("etcd", ())], ());
        let mut endpoints = section.texts("endpoints", &["127.0.0.1:2379"]);
        if let Some(list) = env.get("ETCD_ENDPOINTS") {
            endpoints = list.split(',').map(|text| text.trim().to_owned()).collect();
        }
        endpoints.retain(|endpoint| !endpoint.is_empty());
        if endpoints.is_empty() {
            section.violation("endpoints", "must name at least one etcd endpoint");
        }
        let timeout = section.duration("timeout", Duration::from_secs(5), false);
        let credentials = credentials(&mut section, env);
        let tls = files(&mut section, &endpoints);
        section.finish();
        Self {
            endpoints,
            timeout,
            credentials,
            tls,
        }
    }

    /// The user's name, empty without one.
    #[must_use]
    pub fn user(&self) -> String {
        let user = self.credentials.as_ref().map(|known| known.user.clone());
        user.unwrap_or_default()
    }

    /// The file of etcd's authorities, empty in clear.
    #[must_use]
    pub fn authority(&self) -> String {
        let path = self
            .tls
            .as_ref()
            .and_then(|tls| tls.root_cert_path.as_ref());
        path.map_or_else(String::new, |path| path.display().to_string())
    }

    /// Reads the files of TLS.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(&self) -> Result<Config, tls::Error> {
        let tls = self.tls.as_ref().map(Connector::load).transpose()?;
        Ok(Config {
            endpoints: self.endpoints.clone(),
            timeout: self.timeout,
            credentials: self.credentials.clone(),
            tls: tls.flatten(),
        })
    }
}

fn credentials(section: &mut Section, env: &BTreeMap<String, String>) -> Option<Credentials> {
    let variable = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    let user = section.optional_text("username");
    let user = variable("ETCD_USERNAME").or(user.filter(|user| !user.is_empty()));
    let password = section.secret("password");
    let password = variable("ETCD_PASSWORD").map(Secret::new).or(password);
    if user.is_some() != password.is_some() {
        section.violation(
            "username",
            "and password must be given together, here or as ETCD_USERNAME and ETCD_PASSWORD",
        );
    }
    let (user, password) = user.zip(password)?;
    Some(Credentials { user, password })
}

fn files(section: &mut Section, endpoints: &[String]) -> Option<ClientConfig> {
    let mut path = |name: &str| {
        let path = section.optional_text(name);
        path.filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    let (ca, cert, key) = (
        path("tls_ca_path"),
        path("tls_cert_path"),
        path("tls_key_path"),
    );
    if cert.is_some() != key.is_some() {
        section.violation("tls_cert_path", "and tls_key_path must be given together");
    }
    if ca.is_none() && cert.is_some() {
        section.violation("tls_cert_path", "has no effect without tls_ca_path");
    }
    let begin_with = |scheme: &str| endpoints.iter().any(|text| text.starts_with(scheme));
    if ca.is_none() && begin_with("https://") {
        let rule = "must name the authorities of etcd's certificates for https endpoints";
        section.violation("tls_ca_path", rule);
    }
    if ca.is_some() && begin_with("http://") {
        section.violation("endpoints", "must not be http:// with tls_ca_path");
    }
    let identity = cert.zip(key).map(|(cert_path, key_path)| Identity {
        cert_path,
        key_path,
    });
    Some(ClientConfig {
        mode: Mode::VerifyFull,
        root_cert_path: Some(ca?),
        identity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, env: &[(&str, &str)]) -> Result<Settings, String> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let env = env.collect();
        let read = |root: &mut Section| Settings::read(root, &env);
        platform::config::parse(text, "TEST", &env, read).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn the_environment_comes_before_the_file() {
        let text =
            r#"{"metadata": {"endpoints": ["a:1"], "username": "u", "password": "in the file"}}"#;
        let settings = read(text, &[]).unwrap();
        assert_eq!(settings.endpoints, ["a:1"]);
        assert!(settings.tls.is_none());
        let known = settings.credentials.unwrap();
        assert_eq!(
            (known.user.as_str(), known.password.expose()),
            ("u", "in the file")
        );
        let env = [
            ("ETCD_ENDPOINTS", "b:1, b:2"),
            ("ETCD_USERNAME", "v"),
            ("ETCD_PASSWORD", "hidden"),
        ];
        let settings = read(text, &env).unwrap();
        assert!(!format!("{settings:?}").contains("hidden"));
        assert_eq!(settings.endpoints, ["b:1", "b:2"]);
        let known = settings.credentials.unwrap();
        assert_eq!(
            (known.user.as_str(), known.password.expose()),
            ("v", "hidden")
        );
    }

    #[test]
    fn what_does_not_go_together_is_a_violation() {
        for (fields, wanted) in [
            (r#""username": "u""#, "metadata.username"),
            (r#""password": "p""#, "metadata.username"),
            (r#""endpoints": ["https://a:1"]"#, "metadata.tls_ca_path"),
            (
                r#""endpoints": ["http://a:1"], "tls_ca_path": "ca""#,
                "metadata.endpoints",
            ),
            (
                r#""tls_cert_path": "c", "tls_key_path": "k""#,
                "metadata.tls_cert_path",
            ),
            (
                r#""tls_ca_path": "ca", "tls_key_path": "k""#,
                "metadata.tls_cert_path",
            ),
        ] {
            let violations = read(&format!("{{\"metadata\": {{{fields}}}}}"), &[]).unwrap_err();
            assert!(violations.contains(wanted), "{fields}: {violations}");
        }
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_under_tls_where_an_authority_is_given() {
        let text =
            r#"{"metadata": {"tls_ca_path": "ca", "tls_cert_path": "c", "tls_key_path": "k"}}"#;
        let tls = read(text, &[]).unwrap().tls.unwrap();
        assert_eq!(
            (tls.mode, tls.root_cert_path),
            (Mode::VerifyFull, Some("ca".into()))
        );
        assert_eq!(tls.identity.unwrap().key_path, PathBuf::from("k"));
    }
}
