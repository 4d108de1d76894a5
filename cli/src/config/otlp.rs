//! Where traces go: our own setting, or the variables that OpenTelemetry has for it.

use secrecy::SecretString;

use super::resolve::Layers;
use super::{ConfigError, Flags, Origin, Setting};

/// What follows the beginning of a collector's address.
pub const TRACES_PATH: &str = "/v1/traces";

/// Where traces go.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// The whole address.
    pub endpoint: Setting<String>,
    /// Sent with each request; they may hold keys.
    pub headers: Vec<(String, SecretString)>,
    /// What this service is called; none when the resource attributes say it.
    pub service: Option<String>,
    /// Why nothing is exported nevertheless: a variable that was meant for others.
    pub unusable: Option<String>,
}

impl Layers<'_> {
    /// Where traces go; none when nobody said it.
    pub(super) fn otlp(&self, flags: &Flags, file: Option<String>) -> Result<Option<Otlp>, ConfigError> {
        let ours = self.url_of(
            flags.otlp_endpoint.clone().map(|url| (url, "--otlp-endpoint")),
            "PERENNIAL_OTLP_ENDPOINT",
            file.map(|url| (url, "otlp_endpoint")),
        )?;
        let ours = ours.map(|base| Setting {
            value: below(&base.value),
            ..base
        });
        let Some(endpoint) = ours.clone().or_else(|| self.theirs()) else {
            return Ok(None);
        };
        let unusable = match ours {
            Some(_) => None,
            None => self.unusable(&endpoint.value),
        };
        Ok(Some(Otlp {
            endpoint,
            headers: self
                .signal("HEADERS")
                .map(|(_, text)| headers(text))
                .unwrap_or_default(),
            service: self.service(),
            unusable,
        }))
    }

    /// A variable of the exporter: for traces, or else for everything.
    fn signal(&self, name: &str) -> Option<(String, &str)> {
        let of = |name: String| {
            let value = self.environment.get(&name)?;
            Some((name, value))
        };
        of(format!("OTEL_EXPORTER_OTLP_TRACES_{name}")).or_else(|| of(format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    /// What OpenTelemetry's variables say: an address for traces is the whole of it, one for everything its beginning.
    fn theirs(&self) -> Option<Setting<String>> {
        let is = |name: &str, text: &str| self.environment.get(name).is_some_and(|value| value.trim() == text);
        let others = self
            .environment
            .get("OTEL_TRACES_EXPORTER")
            .is_some_and(|exporters| exporters.split(',').all(|exporter| exporter.trim() != "otlp"));
        if others || is("OTEL_SDK_DISABLED", "true") {
            return None;
        }
        let (name, text) = self.signal("ENDPOINT")?;
        let value = match name.as_str() {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => below(text),
            _ => text.to_owned(),
        };
        Some(Setting {
            value,
            from: Origin::Variable(name),
        })
    }

    /// These variables are set for all programs of a machine: what does not suit us must not keep us from starting.
    fn unusable(&self, endpoint: &str) -> Option<String> {
        if let Some((name, protocol)) = self.signal("PROTOCOL")
            && protocol != "http/protobuf"
        {
            return Some(format!(
                "{name} is {protocol:?}, and this server speaks http/protobuf; name a collector that does with --otlp-endpoint"
            ));
        }
        let is_web = endpoint.starts_with("http://") || endpoint.starts_with("https://");
        (!is_web).then(|| format!("the endpoint {endpoint:?} does not begin with http:// or https://"))
    }

    fn service(&self) -> Option<String> {
        let named = self.environment.get("OTEL_SERVICE_NAME").map(str::to_owned);
        let attributes = self.environment.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let attributed = attributes
            .split(',')
            .any(|pair| pair.trim().starts_with("service.name="));
        named.or_else(|| (!attributed).then(|| "perennial".to_owned()))
    }
}

fn below(base: &str) -> String {
    format!("{}{TRACES_PATH}", base.trim_end_matches('/'))
}

/// `name=value,name=value`, values percent-encoded.
fn headers(text: &str) -> Vec<(String, SecretString)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), SecretString::from(decoded(value.trim()))))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::Environment;
    use super::*;

    fn of(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<Otlp> {
        let environment = Environment::of(variables);
        let flags = Flags {
            otlp_endpoint: flag.map(str::to_owned),
            ..Flags::default()
        };
        let layers = Layers {
            environment: &environment,
        };
        layers.otlp(&flags, None).unwrap()
    }

    #[test]
    fn nobody_said_so_and_nothing_is_exported() {
        assert!(of(None, &[]).is_none());
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert!(of(None, &[off, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318")]).is_none());
        }
    }

    #[test]
    fn an_endpoint_is_the_beginning_and_one_for_traces_the_whole() {
        let endpoint = |flag, variables: &[_]| of(flag, variables).unwrap().endpoint.value;
        assert_eq!(endpoint(Some("http://a:4318/"), &[]), "http://a:4318/v1/traces");
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4318");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/otlp");
        assert_eq!(endpoint(None, &[all]), "http://b:4318/v1/traces");
        assert_eq!(endpoint(None, &[all, traces]), "http://c/otlp");
        assert_eq!(endpoint(Some("http://a"), &[all, traces]), "http://a/v1/traces");
    }

    #[test]
    fn headers_are_decoded() {
        let otlp = of(
            Some("http://a"),
            &[(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20k%2C1, x-team = a%zz=b,none",
            )],
        );
        let headers = otlp.unwrap().headers;
        let shown: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
            .collect();
        assert_eq!(shown, [("authorization", "Bearer k,1"), ("x-team", "a%zz=b")]);
    }

    #[test]
    fn what_was_meant_for_others_is_no_error() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ];
        assert!(of(None, &variables).unwrap().unusable.unwrap().contains("grpc"));
        assert!(of(Some("http://b"), &variables).unwrap().unusable.is_none());
        let bare = of(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317")]).unwrap();
        assert!(bare.unusable.is_some());
    }
}
