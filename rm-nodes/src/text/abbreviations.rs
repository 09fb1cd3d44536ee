//! Words whose full stop ends no sentence although a capital or a number follows.
//!
//! Main function: [`is_known`]. The default list holds what English and German write before names and
//! numbers. An entry that begins with a hyphen is the end of a word. What is often the last word of a sentence (etc., usw., p.m., no.) is left out on purpose:
//! where a small letter follows, the rules of Unicode join it anyway.

/// The list that is used where none is given, without the last full stop.
pub(super) const DEFAULT: &[&str] = &[
    // Titles.
    "Mr", "Mrs", "Ms", "Mx", "Dr", "Prof", "St", "Sr", "Jr", "Rev", "Hon", "Gen", "Col", "Capt",
    "Lt", "Sgt", "Gov", "Sen", "Rep", "Pres", "Mme", "Mlle", "Hr", "Fr", "Frl", "Ing", "Dipl",
    "med", "phil", "jur", "rer", "nat", "habil", // Months.
    "Jan", "Feb", "Mrz", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Okt", "Oct", "Nov", "Dez",
    "Dec", // What comes before an example, a number or a place.
    "e.g", "i.e", "vs", "cf", "approx", "Fig", "Eq", "Sec", "Vol", "vol", "pp", "Nos", "Nr", "Mt",
    "Ft", "Str", "-str", "-nr", "Abs", "Abb", "Tab", "Kap", "Bd", "Tel", "vgl", "bzw", "ca",
    "evtl", "ggf", "inkl", "exkl", "zzgl", "sog", "bspw", "insb", "z.B", "d.h", "u.a", "o.g",
    "s.o", "s.u", "i.d.R", "v.a", "geb", "gest", "Mio", "Mrd",
];

/// Whether `word`, without its last full stop, is in `list`, as it stands there or, at the begin of a
/// sentence, with a capital in place of a small letter.
pub(super) fn is_known(word: &str, list: &[String]) -> bool {
    let matches = |known: &String| {
        if let Some(end) = known.strip_prefix('-') {
            return word.len() > end.len() && word.ends_with(end);
        }
        let mut letters = word.chars();
        match (letters.next(), known.chars().next()) {
            (Some(first), Some(expected)) => {
                letters.as_str() == &known[expected.len_utf8()..]
                    && (first == expected || expected.to_uppercase().eq([first]))
            }
            _ => false,
        }
    };
    list.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_as_it_stands_or_with_a_capital() {
        let list = ["e.g", "Dr", "ö", "-str"].map(str::to_owned);
        for word in ["e.g", "E.g", "Dr", "Ö", "Hauptstr"] {
            assert!(is_known(word, &list), "{word}");
        }
        for word in ["", "dr", "D", "Drs", "E.G", "g", "str", ""] {
            assert!(!is_known(word, &list), "{word}");
        }
    }

    #[test]
    fn what_may_end_a_sentence_is_not_in_the_list() {
        for word in ["no", "No", "etc", "usw", "max", "Max", "Art", "Sun", "p.m"] {
            assert!(!is_known(word, &DEFAULT.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()));
        }
    }
}
