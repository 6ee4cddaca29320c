//! The texts that systemd and launchd read. Called by `cli/service.rs`.

use std::path::PathBuf;

/// What is to run.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) program: PathBuf,
    pub(super) data_dir: PathBuf,
    pub(super) log: PathBuf,
    /// For `amesh up`.
    pub(super) options: Vec<String>,
}

pub(super) const SYSTEMD_NAME: &str = "amesh.service";
pub(super) const LAUNCHD_LABEL: &str = "org.amesh.node";

impl Node {
    /// The command line; `None` if a word cannot stand in a text file.
    fn words(&self) -> Option<Vec<&str>> {
        let mut words = vec![self.program.to_str()?, "up", "--data-dir", self.data_dir.to_str()?];
        words.extend(self.options.iter().map(String::as_str));
        words.iter().all(|word| is_plain(word)).then_some(words)
    }

    fn log(&self) -> Option<&str> {
        self.log.to_str().filter(|log| is_plain(log))
    }
}

/// A user unit: it stops with the user's last session, unless lingering is on.
pub(super) fn systemd(node: &Node) -> Option<String> {
    let command: Vec<String> = node.words()?.into_iter().map(systemd_word).collect();
    // In a path, unlike in a command, nothing but `%` is special.
    let log = node.log()?.replace('%', "%%");
    Some(format!(
        "# Written by `amesh service install`, which writes it anew.
[Unit]
Description=amesh: mesh node for agent messaging
Documentation=https://github.com/amesh/amesh

[Service]
ExecStart={}
Restart=on-failure
RestartSec=2
TimeoutStopSec=60
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=true
StandardOutput=append:{log}
StandardError=append:{log}

[Install]
WantedBy=default.target
",
        command.join(" ")
    ))
}

/// A launch agent.
pub(super) fn launchd(node: &Node) -> Option<String> {
    let words: String =
        node.words()?.into_iter().map(|word| format!("        <string>{}</string>\n", xml(word))).collect();
    let log = xml(node.log()?);
    Some(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by `amesh service install`, which writes it anew. -->
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>{LAUNCHD_LABEL}</string>
    <key>ProgramArguments</key>
    <array>
{words}    </array>
    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <dict>
        <key>SuccessfulExit</key>
        <false/>
    </dict>
    <key>Umask</key>
    <integer>63</integer>
    <key>ExitTimeOut</key>
    <integer>60</integer>
    <key>SoftResourceLimits</key>
    <dict>
        <key>NumberOfFiles</key>
        <integer>65536</integer>
    </dict>
    <key>StandardOutPath</key>
    <string>{log}</string>
    <key>StandardErrorPath</key>
    <string>{log}</string>
</dict>
</plist>
"#
    ))
}

/// Neither format can hold control characters.
fn is_plain(word: &str) -> bool {
    !word.chars().any(char::is_control)
}

/// A word of `ExecStart=`: quoted, with systemd's specifiers, variables and escapes disarmed.
fn systemd_word(word: &str) -> String {
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' | '$' => quoted.extend([c, c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(data_dir: &str) -> Node {
        Node {
            program: "/opt/a b/amesh".into(),
            log: format!("{data_dir}/amesh.log").into(),
            data_dir: data_dir.into(),
            options: vec!["--host".to_owned(), r#"100%$HOME "x" \ <&>"#.to_owned()],
        }
    }

    #[test]
    fn what_systemd_would_interpret_is_disarmed() {
        let unit = systemd(&node("/d%i")).unwrap();
        let start =
            r#"ExecStart="/opt/a b/amesh" "up" "--data-dir" "/d%%i" "--host" "100%%$$HOME \"x\" \\ <&>""#;
        assert!(unit.contains(&format!("\n{start}\n")), "{unit}");
        assert!(unit.contains("\nStandardError=append:/d%%i/amesh.log\n"), "{unit}");
    }

    #[test]
    fn what_xml_would_interpret_is_disarmed() {
        let list = launchd(&node("/d&e")).unwrap();
        for word in
            ["/opt/a b/amesh", "up", "/d&amp;e", r#"100%$HOME "x" \ &lt;&amp;&gt;"#, "/d&amp;e/amesh.log"]
        {
            assert!(list.contains(&format!("<string>{word}</string>")), "{word} in {list}");
        }
    }

    #[test]
    fn a_line_break_cannot_add_a_setting() {
        assert_eq!(systemd(&node("/d\nUser=root")), None);
        assert_eq!(launchd(&node("/d\u{1}")), None);
    }
}
