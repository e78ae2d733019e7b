//! Quoting for commands that people paste into a shell with admin rights.

/// A word as a POSIX shell reads it back, whatever is in it.
pub(super) fn quote(word: &str) -> String {
    let inert = |byte: u8| byte.is_ascii_alphanumeric() || b"@%_+=:,./-".contains(&byte);
    if !word.is_empty() && word.bytes().all(inert) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command of these words.
pub(super) fn command(words: &[&str]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_every_word_and_runs_nothing_in_it() {
        let hostile = [
            "plain",
            "",
            "two words",
            "it's",
            "$(touch x)",
            "`touch x`",
            "a;b",
            "a&b",
            "a|b",
            "a>b",
            "*",
            "~",
            "!!",
            "\\",
            "\"",
            "'; touch x; '",
            "line\nbreak",
            "ünïcödé",
            "#c",
            "-rf",
            "a=b c",
            "\t",
            "{a,b}",
        ];
        let mut words = vec!["printf", "%s\\0"];
        words.extend(hostile);
        let directory = std::env::temp_dir();
        let output = Command::new("sh").args(["-c", &command(&words)]).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.split_terminator('\0').collect::<Vec<_>>(), hostile);
    }

    #[test]
    fn names_that_need_no_quotes_have_none() {
        assert_eq!(command(&["aws", "--role-name", "a+b=c,d.e@f_g-h"]), "aws --role-name a+b=c,d.e@f_g-h");
        assert_eq!(quote("a b"), "'a b'");
    }
}
