//! The README's commands are those that CI runs.
//!
//! Only blocks marked `sh` count, and in them only lines that begin with `cargo xtask`.

/// Commands that the README lacks, and commands in it that CI does not run. `also` may be there
/// but need not.
pub fn check(readme: &str, required: &[&str], also: &[&str]) -> Vec<String> {
    let found = commands(readme);
    let mut problems = Vec::new();
    for command in required {
        if !found.contains(command) {
            problems.push(format!("README.md has no line `{command}` in a block marked `sh`"));
        }
    }
    for command in &found {
        let is_verb = command.starts_with("cargo xtask");
        if is_verb && !required.contains(command) && !also.contains(command) {
            problems.push(format!("README.md shows `{command}`, which CI does not run"));
        }
    }
    problems
}

fn commands(readme: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut inside = None;
    for line in readme.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = match inside {
                None => Some(language.trim() == "sh"),
                Some(_) => None,
            };
        } else if inside == Some(true) {
            let line = line.split(" #").next().unwrap_or_default().trim();
            commands.push(line.strip_prefix("$ ").unwrap_or(line));
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_readme(readme: &str, expected: &[&str]) {
        assert_eq!(check(readme, &["cargo xtask demo"], &["cargo xtask ci"]), expected, "{readme}");
    }

    #[test]
    fn the_same_commands_pass() {
        check_readme("```sh\n$ cargo xtask demo  # runs it\ncargo xtask ci\nls\n```\n", &[]);
        check_readme("```text\ncargo xtask chaos\n```\n```sh\ncargo xtask demo\n```\n", &[]);
    }

    #[test]
    fn a_missing_command_is_named() {
        let missing = ["README.md has no line `cargo xtask demo` in a block marked `sh`"];
        check_readme("", &missing);
        check_readme("cargo xtask demo\n", &missing);
        check_readme("```json\ncargo xtask demo\n```\n", &missing);
    }

    #[test]
    fn a_command_that_ci_does_not_run_is_named() {
        check_readme(
            "```sh\ncargo xtask demo\ncargo xtask demo --fast\n```\n",
            &["README.md shows `cargo xtask demo --fast`, which CI does not run"],
        );
    }
}
