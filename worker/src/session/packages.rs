//! Packages of an environment, as a script: each manager installs for the user, below `~/.local`, because the root of a sandbox is
//! read-only and nobody in it is root.

use perennial_schema::environment::Packages;

/// What is asked for first, so that the reason is clear.
const HAS: &str = r#"has() { command -v "$1" >/dev/null || { echo "packages: there is no $1 in the image" >&2; exit 1; }; }
export PATH="$PATH:$HOME/.local/bin"
"#;

/// The script; none when there is nothing to install.
pub(super) fn script(packages: &Packages) -> Option<String> {
    let mut lines = String::new();
    let mut install = |program: &str, command: &str, names: &[String]| {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            lines.push_str(&format!("has {program}\n{command} {}\n", names.join(" ")));
        }
    };
    let Packages {
        kind: _,
        pip,
        npm,
        apt,
        cargo,
        gem,
        go,
    } = packages;
    install(
        "python3",
        "PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --disable-pip-version-check --user --",
        pip,
    );
    install(
        "npm",
        "npm install --global --prefix \"$HOME/.local\" --no-fund --no-audit --",
        npm,
    );
    install("cargo", "cargo install --root \"$HOME/.local\" --", cargo);
    // What is behind a -- would be flags for compilers.
    install("gem", "gem install --user-install --bindir \"$HOME/.local/bin\"", gem);
    for name in go {
        let whole = if name.contains('@') {
            name.clone()
        } else {
            format!("{name}@latest")
        };
        install("go", "GOBIN=\"$HOME/.local/bin\" go install", &[whole]);
    }
    if !apt.is_empty() {
        lines.push_str("echo 'packages: apt needs a root that can be written; put them into the image' >&2\nexit 1\n");
    }
    (!lines.is_empty()).then(|| format!("{HAS}{lines}"))
}

/// One word for bash.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_nothing_else() {
        assert_eq!(script(&Packages::default()), None);
        let packages = Packages {
            pip: vec!["requests>=2".into(), "a'; touch /x; '".into()],
            go: vec!["golang.org/x/tools/gopls".into()],
            ..Packages::default()
        };
        let script = script(&packages).unwrap();
        assert!(
            script.contains(r"--user -- 'requests>=2' 'a'\''; touch /x; '\'''"),
            "{script}"
        );
        assert!(
            script.contains("go install 'golang.org/x/tools/gopls@latest'"),
            "{script}"
        );
    }
}
