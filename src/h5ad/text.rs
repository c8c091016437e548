//! Many texts one after another, as the columns of a table hold them.

/// How texts of fixed width are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// A zero ends the text; what lies behind it means nothing.
    Terminated,
    Zeros,
    Spaces,
}

/// Texts in one string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    all: String,
    /// Where each text ends.
    ends: Vec<usize>,
}

impl Texts {
    /// Appends a text.
    ///
    /// # Errors
    /// The bytes are not UTF-8.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
            format!("a text is not UTF-8: {shown:?}")
        })?;
        self.all.push_str(text);
        self.ends.push(self.all.len());
        Ok(())
    }

    /// Appends a text of fixed width without what pads it.
    ///
    /// # Errors
    /// The bytes are not UTF-8.
    pub fn push_padded(&mut self, bytes: &[u8], padding: Padding) -> Result<(), String> {
        let length = match padding {
            Padding::Terminated => bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()),
            Padding::Zeros => trimmed(bytes, 0),
            Padding::Spaces => trimmed(bytes, b' '),
        };
        self.push(&bytes[..length])
    }

    /// The texts in their order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        let start = |i: usize| i.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends.iter().enumerate().map(move |(i, &end)| &self.all[start(i)..end])
    }
}

/// The length without the last bytes of this kind.
fn trimmed(bytes: &[u8], padding: u8) -> usize {
    bytes.iter().rposition(|&byte| byte != padding).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_in_order() {
        let mut texts = Texts::default();
        texts.push("one".as_bytes()).unwrap();
        texts.push(b"").unwrap();
        texts.push_padded("zw\u{f6}lf\0\0".as_bytes(), Padding::Zeros).unwrap();
        texts.push_padded(b"a b  ", Padding::Spaces).unwrap();
        texts.push_padded(b"\0\0", Padding::Zeros).unwrap();
        texts.push_padded(b"ctrl\0\xffz", Padding::Terminated).unwrap();
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["one", "", "zw\u{f6}lf", "a b", "", "ctrl"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        let error = Texts::default().push(b"caf\xe9").unwrap_err();
        assert_eq!(error, "a text is not UTF-8: \"caf\u{fffd}\"");
    }
}
