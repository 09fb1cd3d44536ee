//! "Did you mean …?": the nearest of the names that would have been right.

/// The candidate most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "…"?` for the nearest candidate, or nothing.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates)
        .map(|candidate| format!("; did you mean {candidate:?}?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        let names = ["VADNode", "ResampleNode", "PassThroughNode"];
        assert_eq!(nearest("ResmapleNode", names), Some("ResampleNode"));
        assert_eq!(nearest("vadnode", names), Some("VADNode"));
        assert_eq!(nearest("qqq", names), None);
        assert_eq!(did_you_mean("PassTroughNode", names), "; did you mean \"PassThroughNode\"?");
    }
}
